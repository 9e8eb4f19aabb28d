#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "compress/cuda/device.hpp"
#include "gradwire/error.hpp"
#include "gradwire/nccl.hpp"
#include "tests/support/device_copy.hpp"
#include "tests/support/every_algorithm.hpp"
#include "tests/support/has_device.hpp"
#include "tests/support/normal_floats.hpp"
#include "transport/nccl/nccl_links.hpp"

// Over the NCCL and the devices of this host. This process is one rank of as many as started with it:
//   gradwire run -n 2 build/release/tests/runtime/nccl_device_test

namespace gradwire {
namespace {

using compress::OwnStream;

constexpr std::size_t kCount = 70'001;

/// What a rank has and gets.
struct Values {
  explicit Values(int rank)
      : elements(normal_floats(kCount, static_cast<unsigned>(rank))),
        residual(normal_floats(kCount, 100U + static_cast<unsigned>(rank), 0.1F)) {}
  bool operator==(const Values&) const = default;

  std::vector<float> elements;
  std::vector<float> residual;
};

class OverNccl : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    try {
      compress::require_device("a test over NCCL");
      (void)transport::nccl_version();
    } catch (const Error& error) {
      why_not_ = error.what();
      return;
    }
    ranks_.emplace(Communicator::from_environment());
    comm_.emplace(*ranks_, Device::cuda(own_device()));
  }
  static void TearDownTestSuite() {
    comm_.reset();
    ranks_.reset();
  }
  void SetUp() override {
    if (!why_not_.empty()) GTEST_SKIP() << why_not_;
  }

  /// Of this host's devices the next, or the one that all share.
  static int own_device() {
    const std::vector<int> hosts = ranks_->hosts();
    const auto own = hosts.begin() + ranks_->rank();
    const auto before = static_cast<int>(std::count(hosts.begin(), own, *own));
    return has_device(before) ? before : 0;
  }

  /// The same steps by both communicators. `plan(communicator, tensor, options)` makes a plan of either.
  template <typename MakePlan>
  static void expect_same_bits(OperationOptions options, MakePlan plan) {
    Values expected(ranks_->rank());
    Values values = expected;
    const OperationTensor on_host{expected.elements, expected.residual, {}, {}};
    auto reference = plan(*ranks_, std::span(&on_host, 1), options);
    for (int step = 0; step < 3; ++step) reference.run();

    const compress::UseDevice here(comm_->device().number());
    const OwnStream stream;
    const DeviceCopy elements(values.elements, stream.get());
    const DeviceCopy residual(values.residual, stream.get());
    const OperationTensor on_device{elements.tensor(comm_->device().number()), residual.span(), {}, {}};
    stream.wait();
    options.stream = stream.get();
    auto tested = plan(*comm_, std::span(&on_device, 1), options);
    for (int step = 0; step < 3; ++step) tested.start();
    tested.wait();
    elements.fetch(stream.get());
    residual.fetch(stream.get());
    stream.wait();
    EXPECT_TRUE(values == expected) << "other bits than the communicator's on rank " << ranks_->rank();
  }

  static inline std::string why_not_;
  static inline std::optional<Communicator> ranks_;
  static inline std::optional<NcclCommunicator> comm_;
};

TEST_F(OverNccl, AllreduceHasTheBitsOfTheCommunicator) {
  for (const std::string& algorithm : algorithm_names()) {
    for (const char* codec : {"fp16", "bf16", "onebit", "onebit:block=64,scale=l1", "onebit:scale=l2"}) {
      for (const bool average : {false, true}) {
        SCOPED_TRACE(testing::Message() << algorithm << ' ' << codec << (average ? ", averaged" : ""));
        expect_same_bits(
            {.codec = codec, .algorithm = algorithm, .average = average},
            [](auto& communicator, std::span<const OperationTensor> tensors,
               const OperationOptions& options) { return communicator.plan_allreduce(tensors, options); });
      }
    }
  }
}

TEST_F(OverNccl, BroadcastHasTheBitsOfTheCommunicator) {
  for (const char* codec : {"none", "fp16", "onebit"}) {
    SCOPED_TRACE(codec);
    expect_same_bits(
        {.codec = codec, .root = ranks_->world_size() / 2},
        [](auto& communicator, std::span<const OperationTensor> tensors, const OperationOptions& options) {
          return communicator.plan_broadcast(tensors, options);
        });
  }
}

/// The sum is a reduce-scatter that is gathered.
TEST_F(OverNccl, ScattersAndGathers) {
  const int ranks = comm_->world_size();
  const int sum = ranks * (ranks + 1) / 2;
  const compress::UseDevice here(comm_->device().number());
  for (const char* codec : {"none", "fp16"}) {
    const OwnStream stream;
    std::vector<float> values(kCount, static_cast<float>(comm_->rank() + 1));
    const DeviceCopy copy(values, stream.get());
    const OperationTensor tensor{copy.tensor(comm_->device().number()), {}, {}, {}};
    stream.wait();
    const OperationOptions options{.codec = codec, .stream = stream.get()};
    comm_->plan_reduce_scatter(std::span(&tensor, 1), options).run();
    comm_->plan_allgather(std::span(&tensor, 1), options).run();
    copy.fetch(stream.get());
    stream.wait();
    EXPECT_EQ(values, std::vector<float>(kCount, static_cast<float>(sum))) << codec;
  }
}

TEST_F(OverNccl, PlainSumsAreNcclsOwn) {
  const int ranks = comm_->world_size();
  const int sum = ranks * (ranks + 1) / 2;
  const compress::UseDevice here(comm_->device().number());
  const OwnStream stream;
  std::vector<float> values(kCount, static_cast<float>(comm_->rank() + 1));
  const DeviceCopy copy(values, stream.get());
  const OperationTensor tensor{copy.tensor(comm_->device().number()), {}, {}, {}};
  stream.wait();
  NcclPlan plan = comm_->plan_allreduce(std::span(&tensor, 1), {.stream = stream.get()});
  EXPECT_EQ(plan.algorithm(), "nccl");
  plan.run();
  copy.fetch(stream.get());
  stream.wait();
  EXPECT_EQ(values, std::vector<float>(kCount, static_cast<float>(sum)));
}

TEST_F(OverNccl, FindsOnAllRanksWhatIsNotFinite) {
  const compress::UseDevice here(comm_->device().number());
  const OwnStream stream;
  std::vector<float> values(kCount, 1.0F);
  if (comm_->rank() == comm_->world_size() - 1) values[4711] = std::numeric_limits<float>::infinity();
  const DeviceCopy copy(values, stream.get());
  const OperationTensor tensor{copy.tensor(comm_->device().number()), {}, {}, {}};
  stream.wait();
  NcclPlan plan = comm_->plan_allreduce(
      std::span(&tensor, 1),
      {.codec = "onebit", .on_non_finite = OnNonFinite::propagate, .stream = stream.get()});
  plan.run();
  EXPECT_TRUE(plan.non_finite());
  copy.fetch(stream.get());
  stream.wait();
  EXPECT_TRUE(std::ranges::all_of(values, [](float value) { return std::isnan(value); }));
}

}  // namespace
}  // namespace gradwire
