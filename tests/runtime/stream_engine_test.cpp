#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "gradwire/error.hpp"
#include "local_world.hpp"
#include "runtime/stream_engine.hpp"
#include "tests/support/device_copy.hpp"
#include "tests/support/emulated_links.hpp"
#include "tests/support/error_of.hpp"

// What stands behind an NcclCommunicator, on emulated devices and links.

namespace gradwire::runtime {
namespace {

using collectives::Collective;
using compress::OwnStream;
using testing::HasSubstr;
using namespace std::chrono_literals;

std::vector<float> ramp(std::size_t count, float from) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = from + 0.37F * static_cast<float>(i % 101);
  return values;
}

/// A rank of a world of threads that has an engine of the same rank.
struct Member {
  Communicator& communicator;
  StreamEngine& engine;
  EmulatedRoom& room;
};

std::vector<std::optional<Error>> run_members(int ranks, const std::function<void(Member)>& body,
                                              std::chrono::milliseconds timeout = 20s) {
  const auto room = std::make_shared<EmulatedRoom>(ranks);
  return run_ranks(ranks, [&](Communicator& communicator) {
    StreamEngine engine(std::make_unique<EmulatedLinks>(room, communicator.rank(), ranks),
                        {communicator.hosts(), {}, timeout});
    body({communicator, engine, *room});
  });
}

void expect_members(int ranks, const std::function<void(Member)>& body) {
  for (const auto& error : run_members(ranks, body)) {
    if (error) throw Error(*error);
  }
}

/// An operation that ends as plans do.
class Built {
 public:
  Built(StreamEngine& engine, Collective collective, std::span<const OperationTensor> tensors,
        const OperationOptions& options)
      : engine_(engine), operation_(engine.build(collective, tensors, options)) {}
  ~Built() { engine_.end(std::move(operation_)); }
  Built(const Built&) = delete;
  Built& operator=(const Built&) = delete;

  StreamOperation& operator*() { return *operation_; }
  StreamOperation* operator->() { return operation_.get(); }

 private:
  StreamEngine& engine_;
  std::unique_ptr<StreamOperation> operation_;
};

/// A compressed tensor with feedback into a shadow, and a plain one.
struct Model {
  explicit Model(int rank)
      : large(ramp(20'011, static_cast<float>(rank) - 3)),
        small(300, static_cast<float>(rank + 1)),
        residual(ramp(20'011, 0.1F)),
        next(20'011, -7.0F) {}

  std::vector<float> large;
  std::vector<float> small;
  std::vector<float> residual;
  std::vector<float> next;
};

/// A model's memory on the device.
struct ModelCopy {
  ModelCopy(Model& model, compress::Stream stream)
      : large(model.large, stream),
        small(model.small, stream),
        residual(model.residual, stream),
        next(model.next, stream) {}

  [[nodiscard]] std::array<OperationTensor, 2> tensors() const {
    return {OperationTensor{large.tensor(), residual.span(), next.span(), {}},
            OperationTensor{small.tensor(), {}, {}, "none"}};
  }
  void fetch(const OwnStream& stream) const {
    for (const DeviceCopy* copy : {&large, &small, &residual, &next}) copy->fetch(stream.get());
    stream.wait();
  }

  DeviceCopy large;
  DeviceCopy small;
  DeviceCopy residual;
  DeviceCopy next;
};

/// An allreduce of a model that has been started, and in which rank 1 has put an infinity.
struct BadRun {
  explicit BadRun(const Member& member)
      : before(member.communicator.rank()),
        model(with_infinity(before, member.communicator.rank())),
        tensors(copy.tensors()),
        built(member.engine, Collective::allreduce, tensors, {.codec = "onebit", .stream = stream.get()}) {
    member.engine.start(*built);
  }
  static Model with_infinity(Model model, int rank) {
    if (rank == 1) model.large[4321] = std::numeric_limits<float>::infinity();
    return model;
  }

  OwnStream stream;
  Model before;
  Model model;
  ModelCopy copy{model, stream.get()};
  std::array<OperationTensor, 2> tensors;
  Built built;
};

/// An allreduce of one tensor that has been started.
struct Started {
  explicit Started(const Member& member)
      : built(member.engine, Collective::allreduce, std::span(&tensor, 1),
              {.codec = "fp16", .stream = stream.get()}) {
    member.engine.start(*built);
  }

  OwnStream stream;
  std::vector<float> values = std::vector<float>(5000, 1.0F);
  DeviceCopy copy{values, stream.get()};
  OperationTensor tensor{copy.tensor(), {}, {}, {}};
  Built built;
};

TEST(StreamEngine, HasTheBitsOfACommunicator) {
  for (const char* codec : {"fp16", "onebit", "onebit:block=64,scale=l2"}) {
    for (const char* algorithm : {"auto", "ring", "hierarchical"}) {
      for (const int ranks : {1, 2, 4}) {
        SCOPED_TRACE(testing::Message() << codec << ' ' << algorithm << ' ' << ranks);
        expect_members(ranks, [&](Member member) {
          Model expected(member.communicator.rank());
          Model model = expected;
          OperationOptions options{.codec = codec, .algorithm = algorithm, .average = true};
          {
            const std::array tensors{OperationTensor{expected.large, expected.residual, expected.next, {}},
                                     OperationTensor{expected.small, {}, {}, "none"}};
            Plan plan = member.communicator.plan_allreduce(tensors, options);
            for (int step = 0; step < 3; ++step) {
              plan.run();
              plan.swap_residuals();
            }
          }
          const OwnStream stream;
          const ModelCopy copy(model, stream.get());
          options.stream = stream.get();
          const auto tensors = copy.tensors();
          Built built(member.engine, Collective::allreduce, tensors, options);
          for (int step = 0; step < 3; ++step) {
            member.engine.start(*built);
            built->swap_residuals();
          }
          EXPECT_FALSE(member.engine.wait(*built));
          copy.fetch(stream);
          EXPECT_EQ(model.large, expected.large);
          EXPECT_EQ(model.small, expected.small);  // small whole numbers, whose sums have no rounding
          EXPECT_EQ(model.residual, expected.residual);
          EXPECT_EQ(model.next, expected.next);
        });
      }
    }
  }
}

TEST(StreamEngine, AddsResidualsToPlainSums) {
  expect_members(3, [](Member member) {
    const OwnStream stream;
    std::vector<float> values(777, 2.0F);
    std::vector<float> residual(777, 1.0F);
    const DeviceCopy copy(values, stream.get());
    const DeviceCopy feedback(residual, stream.get());
    const OperationTensor tensor{copy.tensor(), feedback.span(), {}, {}};
    Built built(member.engine, Collective::allreduce, std::span(&tensor, 1),
                {.average = true, .stream = stream.get()});
    EXPECT_FALSE(built->parts().front().executor.has_value());
    member.engine.start(*built);
    member.engine.wait(*built);
    copy.fetch(stream.get());
    feedback.fetch(stream.get());
    stream.wait();
    EXPECT_EQ(values, std::vector<float>(777, 3.0F));
    EXPECT_EQ(residual, std::vector<float>(777, 0.0F));
  });
}

/// The steps of an algorithm that nobody takes are not listed: here they would be too many.
TEST(StreamEngine, LeavesPlainSumsToTheLinksHoweverManyRanksThereAre) {
  constexpr int kRanks = 50'000;
  const OwnStream stream;
  std::vector<float> values(10);
  const DeviceCopy copy(values, stream.get());
  stream.wait();
  StreamEngine engine(
      std::make_unique<EmulatedLinks>(std::make_shared<EmulatedRoom>(kRanks), kRanks - 1, kRanks), {});
  const OperationTensor tensor{copy.tensor(), {}, {}, {}};
  const OperationOptions options{.algorithm = "one-shot", .stream = stream.get()};
  Built plain(engine, Collective::allreduce, std::span(&tensor, 1), options);
  EXPECT_FALSE(plain->parts().front().executor.has_value());
  EXPECT_THROW((void)engine.build(Collective::allreduce, std::span(&tensor, 1),
                                  {.codec = "fp16", .algorithm = "one-shot", .stream = stream.get()}),
               Error);
}

TEST(StreamEngine, BroadcastsFromTheRoot) {
  for (const char* codec : {"none", "fp16"}) {
    expect_members(4, [&](Member member) {
      const OwnStream stream;
      std::vector<float> values(5000, static_cast<float>(member.communicator.rank()));
      const DeviceCopy copy(values, stream.get());
      const OperationTensor tensor{copy.tensor(), {}, {}, {}};
      Built built(member.engine, Collective::broadcast, std::span(&tensor, 1),
                  {.codec = codec, .root = 2, .stream = stream.get()});
      member.engine.start(*built);
      member.engine.wait(*built);
      copy.fetch(stream.get());
      stream.wait();
      EXPECT_EQ(values, std::vector<float>(5000, 2.0F));
    });
  }
}

TEST(StreamEngine, FollowsTheCallersStreamAndIsFollowedByIt) {
  expect_members(2, [](Member member) {
    const OwnStream stream;
    std::vector<float> values(50'000);
    const DeviceCopy copy(values, stream.get());
    const OperationTensor tensor{copy.tensor(), {}, {}, {}};
    Built built(member.engine, Collective::allreduce, std::span(&tensor, 1),
                {.codec = "fp16", .stream = stream.get()});
    std::vector<std::vector<float>> given;
    std::vector<std::vector<float>> taken(10, std::vector<float>(values.size()));
    for (int round = 0; round < 10; ++round) {
      given.emplace_back(values.size(), static_cast<float>(round + member.communicator.rank()));
    }
    for (std::size_t round = 0; round < 10; ++round) {
      const std::size_t bytes = sizeof(float) * values.size();
      compress::copy_on(stream.get(), copy.data(), given[round].data(), bytes);
      member.engine.start(*built);
      compress::copy_on(stream.get(), taken[round].data(), copy.data(), bytes);
    }
    member.engine.wait(*built);
    stream.wait();
    EXPECT_TRUE(member.engine.done(*built));
    for (std::size_t round = 0; round < 10; ++round) {
      EXPECT_EQ(taken[round], std::vector<float>(values.size(), 2.0F * static_cast<float>(round) + 1.0F));
    }
  });
}

TEST(StreamEngine, VoidsResultsWhereOneWasNotFiniteAndGoesOn) {
  expect_members(3, [](Member member) {
    BadRun run(member);
    auto& [stream, before, model, copy, tensors, built] = run;
    EXPECT_TRUE(member.engine.wait(*built));
    copy.fetch(stream);
    for (const float value : model.large) ASSERT_TRUE(std::isnan(value));
    for (const float value : model.small) ASSERT_TRUE(std::isnan(value));
    EXPECT_EQ(model.residual, before.residual);
    EXPECT_EQ(model.next, before.residual);
    // Nothing of it is left for the next run.
    model = before;
    compress::copy_on(stream.get(), copy.large.data(), before.large.data(), copy.large.tensor().bytes());
    compress::copy_on(stream.get(), copy.small.data(), before.small.data(), copy.small.tensor().bytes());
    member.engine.start(*built);
    EXPECT_FALSE(member.engine.wait(*built));
  });
}

/// The next run may be prepared before it is known how this one ended.
TEST(StreamEngine, KeepsTheOldResidualsThoughTheyWereSwappedBeforeARunWasFoundBad) {
  expect_members(2, [](Member member) {
    BadRun run(member);
    run.built->swap_residuals();
    EXPECT_TRUE(member.engine.wait(*run.built));
    run.copy.fetch(run.stream);
    EXPECT_EQ(run.model.residual, run.before.residual);
    EXPECT_EQ(run.model.next, run.before.residual);
  });
}

/// Ranks 0 and 1 wait on their streams for one that never comes.
TEST(StreamEngine, EndsInTimeWhereARankDoesNotCome) {
  const auto errors = run_members(
      3,
      [](Member member) {
        if (member.communicator.rank() == 2) throw Error(ErrorCode::system, "it died", "");
        Started run(member);
        const auto first = error_of([&] { member.engine.wait(*run.built); });
        EXPECT_TRUE(run.built->ended()) << "the tensors are still in use";
        // It stays as it is.
        const auto second = error_of([&] { member.engine.start(*run.built); });
        ASSERT_TRUE(first.has_value() && second.has_value());
        EXPECT_STREQ(second->what(), first->what());
        EXPECT_THROW((void)member.engine.build(Collective::allreduce, std::span(&run.tensor, 1), {}), Error);
        throw Error(*first);
      },
      300ms);
  for (const std::size_t rank : {0, 1}) {
    ASSERT_TRUE(errors[rank].has_value());
    EXPECT_EQ(errors[rank]->code(), ErrorCode::timeout) << errors[rank]->what();
    EXPECT_THAT(errors[rank]->what(), HasSubstr("allreduce"));
  }
}

TEST(StreamEngine, ThrowsWhatTheLinksFindOutMeanwhile) {
  const auto errors = run_members(2, [](Member member) {
    if (member.communicator.rank() == 1) {
      std::this_thread::sleep_for(50ms);
      member.room.fail(Error(ErrorCode::peer_lost, "rank 1 has gone", "", 1));
      return;
    }
    Started run(member);
    member.engine.wait(*run.built);
  });
  ASSERT_TRUE(errors[0].has_value());
  EXPECT_EQ(errors[0]->code(), ErrorCode::peer_lost);
  EXPECT_EQ(errors[0]->peer(), 1);
}

/// An exception of the caller's, with a run on the stream that needs the other rank.
TEST(StreamEngine, DoesNotWaitForOthersWhereItsOwnerFails) {
  const auto begin = std::chrono::steady_clock::now();
  run_members(2, [](Member member) {
    if (member.communicator.rank() == 1) return;
    const Started run(member);
    throw Error(ErrorCode::system, "something of the caller's", "");
  });
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
}

class Refused : public testing::Test {
 protected:
  void SetUp() override { stream_.wait(); }
  void expect(std::span<const OperationTensor> tensors, const OperationOptions& options, ErrorCode code,
              const char* words) {
    try {
      (void)engine_.build(Collective::allreduce, tensors, options);
      ADD_FAILURE() << "no error: " << words;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(words));
    }
  }
  void expect(const Tensor& tensor, const OperationOptions& options, ErrorCode code, const char* words) {
    const OperationTensor single{tensor, {}, {}, {}};
    expect(std::span(&single, 1), options, code, words);
  }

  StreamEngine engine_{std::make_unique<EmulatedLinks>(std::make_shared<EmulatedRoom>(1), 0, 1), {}};
  OwnStream stream_;
  std::vector<float> host_ = std::vector<float>(100);
  DeviceCopy copy_{host_, stream_.get()};
};

TEST_F(Refused, IsWhatIsNotOnItsDevice) {
  expect(host_, {}, ErrorCode::invalid_argument, "on the host");
  expect(Tensor(host_.data(), 100, DType::float32, Device::cuda(0)), {}, ErrorCode::invalid_argument,
         "tensor 0");
  const compress::UseDevice other(1);
  std::vector<float> values(100);
  const OwnStream stream;
  const DeviceCopy there(values, stream.get());
  stream.wait();
  expect(there.tensor(1), {}, ErrorCode::invalid_argument, "device 1");
  expect(copy_.tensor(), {.stream = stream.get()}, ErrorCode::invalid_argument, "stream of device 1");
}

TEST_F(Refused, AreSixteenBitsAndUnknownNames) {
  expect(Tensor(copy_.data(), 100, DType::bfloat16, Device::cuda(0)), {}, ErrorCode::unsupported, "float32");
  expect(copy_.tensor(), {.codec = "zip"}, ErrorCode::invalid_argument, "zip");
  expect(copy_.tensor(), {.algorithm = "knot"}, ErrorCode::invalid_argument, "knot");
  expect(copy_.tensor(), {.root = 1}, ErrorCode::invalid_argument, "root 1 of 1");
}

TEST_F(Refused, AreHostsOfOtherRanks) {
  const auto make = [](std::vector<int> hosts, std::chrono::milliseconds timeout) {
    const StreamEngine engine(std::make_unique<EmulatedLinks>(std::make_shared<EmulatedRoom>(2), 0, 2),
                              {std::move(hosts), {}, timeout});
  };
  EXPECT_THROW(make({0}, 1s), Error);
  EXPECT_THROW(make({}, 0s), Error);
  EXPECT_NO_THROW(make({0, 0}, 1s));
}

}  // namespace
}  // namespace gradwire::runtime
