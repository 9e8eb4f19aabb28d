#include <gtest/gtest.h>

#include <array>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "collectives/stream_executor.hpp"
#include "every_schedule.hpp"
#include "executor_world.hpp"
#include "oracle_data.hpp"
#include "tests/support/device_copy.hpp"
#include "tests/support/emulated_links.hpp"
#include "tests/support/every_algorithm.hpp"

// Programs on the streams of emulated devices, compared with the oracle.
namespace gradwire::collectives {
namespace {

using testing::Case;
using testing::codec_specs;
using testing::every_case;
using testing::Job;
using testing::random_data;
using testing::randomize_residuals;
using testing::same_bits;

/// The executors of all ranks. Each has a stream, which is a thread.
class StreamWorld {
 public:
  explicit StreamWorld(const Job& job)
      : job_(job),
        room_(std::make_shared<EmulatedRoom>(job.ranks)),
        codec_(compress::make_codec(job.codec)),
        schedule_(make_schedule(
            job.collective,
            resolve_algorithm(job.collective, job.algorithm, *codec_, job.counts, job.ranks, job.hosts),
            job.ranks, job.root, job.hosts)),
        layout_(lay_out_for_stream(job.counts, *codec_, schedule_.chunk_count)) {
    for (int rank = 0; rank < job.ranks; ++rank) {
      links_.push_back(std::make_unique<EmulatedLinks>(room_, rank, job.ranks));
      executors_.push_back(
          std::make_unique<StreamExecutor>(job.average, compile_for_stream(schedule_, layout_, *codec_, rank),
                                           layout_, *codec_, *links_.back()));
      streams_.emplace_back();
      flags_.emplace_back();
    }
  }

  /// `runs` of them, one right after the other, and in place. False: they have not come to an end.
  bool run(std::vector<RankData>& data, int runs) {
    std::vector<std::unique_ptr<DeviceCopy>> copies;
    std::vector<compress::Event> ended(data.size());
    for (std::size_t rank = 0; rank < data.size(); ++rank) {
      const compress::Stream stream = streams_[rank].get();
      const auto place = [&](std::vector<float>& floats) {
        copies.push_back(std::make_unique<DeviceCopy>(floats, stream));
        return copies.back()->data();
      };
      std::vector<Buffer> buffers;
      for (std::size_t i = 0; i < data[rank].tensors.size(); ++i) {
        auto& tensor = data[rank].tensors[i];
        auto& residual = data[rank].residuals[i];
        float* const values = place(tensor);
        float* const feedback = residual.empty() ? nullptr : place(residual);
        buffers.push_back({Tensor(values, tensor.size(), DType::float32), values, feedback, feedback});
      }
      flags_[rank].clear_on(stream);
      bool has_begun = false;
      for (int i = 0; i < runs; ++i) executors_[rank]->enqueue(buffers, stream, flags_[rank], has_begun);
      flags_[rank].fetch_on(stream);
      ended[rank].record(stream);
    }
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    for (const compress::Event& event : ended) {
      while (!event.reached()) {
        if (std::chrono::steady_clock::now() > deadline) {
          for (const auto& links : links_) links->abort();
          for (const auto& stream : streams_) stream.wait();
          return false;
        }
        std::this_thread::yield();
      }
    }
    room_->check();
    for (const auto& copy : copies) copy->fetch(streams_[0].get());
    streams_[0].wait();
    return true;
  }

  void oracle(std::vector<RankData>& data) const {
    run_oracle(schedule_, layout_, *compress::make_reference_codec(job_.codec), {.average = job_.average},
               data);
  }

  [[nodiscard]] const Schedule& schedule() const { return schedule_; }
  [[nodiscard]] const Layout& layout() const { return layout_; }
  [[nodiscard]] const StreamProgram& program(std::size_t rank) const { return executors_[rank]->program(); }
  [[nodiscard]] const EmulatedLinks& links(std::size_t rank) const { return *links_[rank]; }
  [[nodiscard]] bool non_finite(std::size_t rank) const { return flags_[rank].raised(); }

 private:
  Job job_;
  std::shared_ptr<EmulatedRoom> room_;
  std::shared_ptr<const compress::Codec> codec_;
  Schedule schedule_;
  Layout layout_;
  std::vector<std::unique_ptr<EmulatedLinks>> links_;
  std::vector<std::unique_ptr<StreamExecutor>> executors_;
  std::vector<compress::NonFiniteFlag> flags_;
  std::vector<compress::OwnStream> streams_;
};

/// After a reduce-scatter, what a rank does not own.
void forget_what_is_unspecified(const StreamWorld& world, std::size_t rank, std::vector<RankData>& data) {
  if (world.schedule().collective != Collective::reduce_scatter) return;
  for (const Segment& segment : world.layout().segments) {
    if (world.schedule().owner[segment.chunk] == static_cast<int>(rank)) continue;
    for (auto p = segment.piece_begin; p < segment.piece_end; ++p) {
      const Piece& piece = world.layout().pieces[p];
      auto& values = data[rank].tensors[piece.tensor];
      std::fill_n(values.begin() + static_cast<std::ptrdiff_t>(piece.begin), piece.count, 0.0F);
    }
  }
}

/// Results, residuals, values noticed that are not finite, and bytes sent: two operations, one at a time.
void expect_as_the_oracle(const Job& job, const std::vector<RankData>& input) {
  SCOPED_TRACE(job.describe());
  StreamWorld world(job);
  auto data = input;
  auto expected = input;
  for (int operation = 0; operation < 2; ++operation) {
    for (RankData& rank : expected) rank.finite = true;
    world.oracle(expected);
    ASSERT_TRUE(world.run(data, 1)) << "stuck";
    for (std::size_t rank = 0; rank < data.size(); ++rank) {
      forget_what_is_unspecified(world, rank, data);
      forget_what_is_unspecified(world, rank, expected);
      for (std::size_t i = 0; i < job.counts.size(); ++i) {
        ASSERT_TRUE(same_bits(data[rank].tensors[i], expected[rank].tensors[i]))
            << "rank " << rank << " tensor " << i;
        ASSERT_TRUE(same_bits(data[rank].residuals[i], expected[rank].residuals[i]))
            << "residual of rank " << rank;
      }
      ASSERT_EQ(world.non_finite(rank), !expected[rank].finite) << rank;
    }
  }
  for (std::size_t rank = 0; rank < data.size(); ++rank) {
    EXPECT_EQ(world.links(rank).sent(), 2 * world.program(rank).sent_bytes) << rank;
  }
}

void expect_as_the_oracle(const Job& job) {
  auto data = random_data(job.ranks, job.counts, 7, true);
  randomize_residuals(data, 8);
  expect_as_the_oracle(job, data);
}

/// A barrier's one element is never anywhere but on the host.
std::vector<Case> all_but_the_barrier() {
  std::vector<Case> cases = every_case();
  std::erase_if(cases, [](const Case& each) { return each.collective == Collective::barrier; });
  return cases;
}

class EveryCollectiveOnStreams : public ::testing::TestWithParam<Case> {};

TEST_P(EveryCollectiveOnStreams, HasTheBitsOfTheOracle) {
  const Case& tested = GetParam();
  const bool gathers =
      tested.collective == Collective::allgather || tested.collective == Collective::broadcast;
  unsigned turn = 0;
  for (const std::string& codec : codec_specs()) {
    for (const int ranks : quick() ? std::vector{1, 3, 5} : std::vector{1, 2, 3, 4, 5, 8}) {
      for (const auto& counts : {std::vector<std::size_t>{0}, {1}, {513}, {700, 0, 1301, 64}}) {
        ++turn;
        expect_as_the_oracle({.algorithm = std::string(to_string(tested.algorithm)),
                              .codec = codec,
                              .ranks = ranks,
                              .counts = counts,
                              .average = !gathers && turn % 2 == 0,
                              .seed = turn,
                              .collective = tested.collective,
                              .root = tested.collective == Collective::broadcast ? ranks / 2 : 0});
        if (HasFatalFailure()) return;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, EveryCollectiveOnStreams, ::testing::ValuesIn(all_but_the_barrier()),
                         [](const auto& tested) { return identifier(tested.param.name()); });

TEST(StreamExecutor, KeepsRunsApartThatFollowEachOther) {
  for (const std::string& algorithm : algorithm_names()) {
    const Job job{
        .algorithm = algorithm, .codec = "onebit", .ranks = 4, .counts = {20'000, 31}, .average = true};
    SCOPED_TRACE(job.describe());
    StreamWorld world(job);
    auto data = random_data(job.ranks, job.counts, 1, true);
    auto expected = data;
    for (int i = 0; i < 5; ++i) world.oracle(expected);
    ASSERT_TRUE(world.run(data, 5));
    for (std::size_t rank = 0; rank < data.size(); ++rank) {
      EXPECT_TRUE(same_bits(data[rank].tensors[0], expected[rank].tensors[0])) << rank;
      EXPECT_TRUE(same_bits(data[rank].residuals[0], expected[rank].residuals[0])) << rank;
    }
  }
}

TEST(StreamExecutor, SeesWhatIsNotFinite) {
  unsigned turn = 0;
  for (const Case& tested : all_but_the_barrier()) {
    for (const char* codec : {"none", "fp16", "bf16", "onebit"}) {
      for (const float poison :
           {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
        const Job job{.algorithm = std::string(to_string(tested.algorithm)),
                      .codec = codec,
                      .ranks = 4,
                      .counts = {3000},
                      .seed = ++turn,
                      .collective = tested.collective};
        auto data = random_data(job.ranks, job.counts, turn, true);
        randomize_residuals(data, turn);
        data[turn % 4].tensors[0][turn * 91 % 3000] = poison;
        expect_as_the_oracle(job, data);
        if (HasFatalFailure()) return;
      }
    }
  }
}

/// A group is one launch of NCCL's, and a kernel one of ours.
TEST(StreamExecutor, PutsNoMoreOnTheStreamThanTheScheduleAsksFor) {
  const int ranks = 4;
  const Job job{.algorithm = "two-shot", .codec = "onebit", .ranks = ranks, .counts = {4096}};
  StreamWorld world(job);
  const StreamProgram& program = world.program(1);
  const auto count = [&](StreamVerb verb) {
    return std::ranges::count_if(program.steps, [&](const StreamStep& step) { return step.verb == verb; });
  };
  EXPECT_EQ(count(StreamVerb::encode), 3);  // the partial sums of the others' chunks
  EXPECT_EQ(count(StreamVerb::add), 2);
  EXPECT_EQ(count(StreamVerb::add_then_encode), 1);
  EXPECT_EQ(count(StreamVerb::assign), 4);
  EXPECT_EQ(count(StreamVerb::send), 6);
  EXPECT_EQ(count(StreamVerb::receive), 6);
}

/// Plain frames are the tensor's own memory.
TEST(StreamExecutor, CopiesNoPlainFrames) {
  const Job job{.algorithm = "ring",
                .codec = "none",
                .ranks = 4,
                .counts = {4096},
                .collective = Collective::allgather};
  StreamWorld world(job);
  EXPECT_EQ(world.program(0).frame_bytes, 0U);
  for (const StreamStep& step : world.program(0).steps) {
    EXPECT_TRUE(step.verb == StreamVerb::encode || step.verb == StreamVerb::send ||
                step.verb == StreamVerb::receive);
  }
}

}  // namespace
}  // namespace gradwire::collectives
