#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "compress/cuda/emulated_device.hpp"
#include "executor_world.hpp"
#include "oracle_data.hpp"

// What an executor does not do before its stream has come as far: with streams that stand still until the
// test lets them run.
namespace gradwire::collectives {
namespace {

using compress::emulated::StreamsStandStill;
using testing::Job;
using testing::random_data;
using testing::same_bits;
using testing::World;

constexpr std::size_t kCapacity = 1000;

/// Two ranks; the tensor of rank 1 is on the device.
class DeviceWaits : public ::testing::Test {
 protected:
  /// Begins an operation of `count` elements while all streams stand still.
  void begin(const char* algorithm, std::size_t count) {
    const Job job{.algorithm = algorithm, .codec = "none", .ranks = 2, .counts = {count}, .devices = 0b10};
    data_ = random_data(2, job.counts, 1, false);
    expected_ = data_;
    World(job).oracle(expected_);
    world_.emplace(job);
    network_.emplace(2, kCapacity, 1);
    still_.emplace();
    on_device_.emplace(data_[1].tensors[0], caller_.get());
    auto& host = data_[0].tensors[0];
    buffers_ = {{{Tensor(host), host.data()}},
                {{Tensor(on_device_->data(), count, DType::float32), on_device_->data()}}};
    world_->note_callers_stream(caller_.get());
    for (unsigned rank = 0; rank < 2; ++rank) {
      executor(rank).start(buffers_[rank], {.sender = rank}, 0);
    }
  }

  void turn() {
    for (int rank = 0; rank < 2; ++rank) {
      auto& channel = network_->channels(rank)[static_cast<std::size_t>(1 - rank)];
      executor(rank).pump_receives(1 - rank, channel);
      executor(rank).pump_sends(1 - rank, channel);
    }
  }

  /// Lets the streams run, to the end.
  void finish() {
    still_.reset();
    while (!executor(0).finished() || !executor(1).finished()) {
      turn();
      std::this_thread::yield();
    }
    on_device_->fetch(caller_.get());
    caller_.wait();
    for (std::size_t rank = 0; rank < 2; ++rank) {
      EXPECT_TRUE(same_bits(data_[rank].tensors[0], expected_[rank].tensors[0])) << rank;
    }
  }

  HostExecutor& executor(int rank) { return world_->executor(rank); }
  /// Frames that `rank` has posted to the other one, and those that it has taken from it.
  std::uint64_t posted(int rank) {
    return network_->channels(rank)[static_cast<std::size_t>(1 - rank)].posted;
  }

  compress::OwnStream caller_;
  std::vector<RankData> data_;
  std::vector<RankData> expected_;
  std::optional<DeviceCopy> on_device_;
  std::optional<World> world_;
  std::optional<FakeNetwork> network_;
  std::vector<std::vector<Buffer>> buffers_;
  std::optional<StreamsStandStill> still_;
};

TEST_F(DeviceWaits, NoFrameLeavesBeforeItIsThere) {
  begin("two-shot", 100'000);
  for (int i = 0; i < 100; ++i) turn();
  EXPECT_GT(posted(0), 0U);
  EXPECT_EQ(posted(1), 0U);
  EXPECT_TRUE(executor(1).has_said_no());
  EXPECT_FALSE(executor(1).has_said_no()) << "nobody has asked anything since";
  EXPECT_FALSE(executor(1).finished());
  finish();
  EXPECT_GT(posted(1), 0U);
}

TEST_F(DeviceWaits, NoMorePayloadsAreTakenThanThereAreSlots) {
  begin("two-shot", 600'000);
  const std::size_t frames = executor(0).program().sends[1].size();
  for (int i = 0; i < 1000; ++i) turn();
  const std::uint64_t taken = posted(0) - network_->waiting(0, 1);
  EXPECT_EQ(taken, 8U);
  EXPECT_GT(frames, 2 * taken);
  finish();
}

TEST_F(DeviceWaits, NothingEndsBeforeTheLastKernel) {
  begin("ring", 0);
  for (int i = 0; i < 100; ++i) turn();
  EXPECT_FALSE(executor(1).finished());
  finish();
}

}  // namespace
}  // namespace gradwire::collectives
