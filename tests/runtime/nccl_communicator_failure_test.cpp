#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <optional>
#include <thread>
#include <vector>

#include "gradwire/error.hpp"
#include "gradwire/nccl.hpp"
#include "local_world.hpp"
#include "nccl_test.hpp"
#include "tests/support/device_copy.hpp"
#include "tests/support/error_of.hpp"
#include "tests/support/leaks_are_meant.hpp"
#include "transport/nccl/nccl_library.hpp"
#include "transport/nccl/nccl_links.hpp"

// How collectives over NCCL end where NCCL refuses them, another rank is gone, or nobody waits any more.

namespace gradwire {
namespace {

using compress::OwnStream;
using testing::HasSubstr;
using namespace std::chrono_literals;

using NcclFailureTest = NcclTest;

TEST_F(NcclFailureTest, EndsInTimeWhereARankDoesNotComeToConnect) {
  const auto begin = std::chrono::steady_clock::now();
  const auto error = error_of([] {
    (void)transport::make_nccl_links(transport::make_nccl_id(), 0, 2, 0, std::chrono::milliseconds(100));
  });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), ErrorCode::timeout) << error->what();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
  EXPECT_EQ(fake().aborted, 1);
}

TEST_F(NcclFailureTest, ThrowsWhatNcclRefusesAndLeavesItsGroup) {
  const auto errors = run_ranks(2, [](Communicator& communicator) {
    NcclCommunicator comm(communicator, Device::cuda(0), {.timeout = 300ms});
    communicator.barrier();
    if (communicator.rank() == 0) plant("ncclSend", ncclInvalidUsage);
    communicator.barrier();
    const auto first = error_of([&] { reduce(comm, 5000); });
    // The thread's next communicator works.
    NcclCommunicator other(communicator, Device::cuda(0));
    reduce(other, 5000);
    if (first) throw Error(*first);
  });
  ASSERT_TRUE(errors[0].has_value() && errors[1].has_value());
  const bool is_first = errors[0]->code() == ErrorCode::system;
  const auto& refused = is_first ? errors[0] : errors[1];
  const auto& waited = is_first ? errors[1] : errors[0];
  EXPECT_EQ(refused->code(), ErrorCode::system);
  EXPECT_THAT(refused->what(), HasSubstr("NCCL could not start a send: a fault of the test's (planted)"));
  EXPECT_EQ(waited->code(), ErrorCode::timeout);
  EXPECT_EQ(fake().aborted, 2);
}

/// What is refused before anything is on the stream, of a communicator that does not remember it.
TEST_F(NcclFailureTest, GoesOnAfterWhatNcclRefusedAtOnce) {
  const transport::NcclId id = transport::make_nccl_id();
  expect_ranks(2, [&](Communicator& communicator) {
    ncclComm_t callers = make_callers(id, communicator, true);
    {
      NcclCommunicator comm(callers, {.timeout = 10s});
      const OwnStream stream;
      std::vector<float> values(1000, 1.0F);
      const DeviceCopy copy(values, stream.get());
      const OperationTensor tensor{copy.tensor(), {}, {}, {}};
      const OperationOptions options{.stream = stream.get()};
      std::array plans{comm.plan_allreduce(std::span(&tensor, 1), options),
                       comm.plan_broadcast(std::span(&tensor, 1), options)};
      const std::array functions{"ncclAllReduce", "ncclRecv"};
      for (std::size_t i = 0; i < plans.size(); ++i) {
        communicator.barrier();
        if (communicator.rank() == 1) {
          plant(functions[i], i == 0 ? ncclInvalidArgument : ncclInvalidUsage);
          const auto error = error_of([&] { plans[i].start(); });
          EXPECT_TRUE(error.has_value() && error->code() == ErrorCode::invalid_argument);
        }
        communicator.barrier();
        plans[i].run();
      }
      copy.fetch(stream.get());
      stream.wait();
      EXPECT_EQ(values, std::vector<float>(1000, 2.0F));
    }
    communicator.barrier();
    transport::NcclLibrary::get().comm_destroy(callers);
  });
}

/// NCCL itself would refuse all that comes after it.
TEST_F(NcclFailureTest, GivesUpACommunicatorThatRemembersWhatWasRefused) {
  expect_ranks(1, [](Communicator& communicator) {
    NcclCommunicator comm(communicator, Device::cuda(0));
    plant("ncclAllReduce", ncclInvalidArgument);
    const auto first = error_of([&] { reduce(comm, 1000, "none"); });
    ASSERT_TRUE(first.has_value());
    EXPECT_EQ(first->code(), ErrorCode::system);
    EXPECT_THAT(first->what(), HasSubstr("NCCL could not start an allreduce"));
    const auto second = error_of([&] { reduce(comm, 1000, "none"); });
    ASSERT_TRUE(second.has_value());
    EXPECT_STREQ(second->what(), first->what());
  });
  EXPECT_EQ(fake().aborted, 1);
}

/// Other ranks would wait for the rest, or tensors and residuals have changed. Of a group NCCL tells only
/// that it has failed.
TEST_F(NcclFailureTest, GivesUpACommunicatorThatRefusesThePartsOfARunThatHasBegun) {
  for (const bool after_kernels : {true, false}) {
    const transport::NcclId id = transport::make_nccl_id();
    expect_ranks(2, [&](Communicator& communicator) {
      ncclComm_t callers = make_callers(id, communicator, true);
      if (communicator.rank() == 0) {
        NcclCommunicator comm(callers);
        const OwnStream stream;
        std::vector<float> values(1000, 1.0F);
        const DeviceCopy copy(values, stream.get());
        const DeviceCopy other(values, stream.get());
        stream.wait();
        const std::array tensors{OperationTensor{copy.tensor(), {}, {}, {}},
                                 OperationTensor{other.tensor(), {}, {}, {}}};
        NcclPlan plan =
            comm.plan_allreduce(tensors, {.codec = after_kernels ? "fp16" : "none", .stream = stream.get()});
        if (after_kernels) {
          plant("ncclSend", ncclInvalidUsage);
        } else {
          plant("ncclAllReduce", ncclInvalidUsage, 1);
        }
        const auto first = error_of([&] { plan.start(); });
        EXPECT_TRUE(first.has_value() && first->code() == ErrorCode::system) << after_kernels;
        EXPECT_THROW(plan.start(), Error);
      }
      communicator.barrier();
      transport::NcclLibrary::get().comm_abort(callers);
    });
    renew_fake();
  }
}

TEST_F(NcclFailureTest, ThrowsWhatNcclFindsOutLater) {
  const auto errors = run_ranks(2, [](Communicator& communicator) {
    NcclCommunicator comm(communicator, Device::cuda(0));
    if (communicator.rank() == 1) {
      communicator.barrier();
      fake().async_error = ncclRemoteError;
      return;
    }
    const OwnStream stream;
    std::vector<float> values(5000);
    const DeviceCopy copy(values, stream.get());
    const OperationTensor tensor{copy.tensor(), {}, {}, {}};
    NcclPlan plan = comm.plan_allreduce(std::span(&tensor, 1), {.codec = "fp16", .stream = stream.get()});
    plan.start();
    communicator.barrier();
    plan.wait();
  });
  ASSERT_TRUE(errors[0].has_value());
  EXPECT_EQ(errors[0]->code(), ErrorCode::peer_lost) << errors[0]->what();
  EXPECT_THAT(errors[0]->what(), HasSubstr("remote process exited"));
}

TEST_F(NcclFailureTest, CanBeGivenUp) {
  const auto errors = run_ranks(2, [](Communicator& communicator) {
    NcclCommunicator comm(communicator, Device::cuda(0));
    communicator.barrier();
    comm.abort();
    reduce(comm, 5000);
  });
  for (std::size_t rank = 0; rank < 2; ++rank) {
    ASSERT_TRUE(errors[rank].has_value());
    EXPECT_EQ(errors[rank]->code(), ErrorCode::peer_lost);
    EXPECT_EQ(errors[rank]->peer(), static_cast<int>(rank));
  }
  EXPECT_EQ(fake().aborted, 2);
}

/// Another thread is inside of NCCL, which waits for a rank.
TEST_F(NcclFailureTest, CanBeGivenUpWhileNcclConnects) {
  const auto begin = std::chrono::steady_clock::now();
  const auto errors = run_ranks(2, [](Communicator& communicator) {
    NcclCommunicator comm(communicator, Device::cuda(0));
    communicator.barrier();
    fake().is_stuck = true;
    std::thread other([&] {
      std::this_thread::sleep_for(50ms);
      comm.abort();
    });
    const auto error = error_of([&] { reduce(comm, 5000); });
    other.join();
    if (error) throw Error(*error);
  });
  for (std::size_t rank = 0; rank < 2; ++rank) {
    ASSERT_TRUE(errors[rank].has_value());
    EXPECT_EQ(errors[rank]->code(), ErrorCode::peer_lost) << errors[rank]->what();
    EXPECT_EQ(errors[rank]->peer(), static_cast<int>(rank));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
}

/// Plans that were started, of which nothing comes to its end: the other rank starts none.
class StuckPlans {
 public:
  explicit StuckPlans(NcclCommunicator& comm) {
    for (std::size_t i = 0; i < streams_.size(); ++i) {
      // A tensor for each: what a plan was to do follows once it is given up, on its stream.
      const OperationTensor tensor{copies_[i].tensor(), {}, {}, {}};
      stream_.wait();
      plans_.push_back(
          comm.plan_allreduce(std::span(&tensor, 1), {.codec = "fp16", .stream = streams_[i].get()}));
      plans_.back().start();
    }
  }
  [[nodiscard]] std::vector<NcclPlan>& plans() { return plans_; }
  void wait_for_streams() const {
    for (const OwnStream& stream : streams_) stream.wait();
  }

 private:
  OwnStream stream_;
  std::vector<float> values_ = std::vector<float>(5000);
  std::array<DeviceCopy, 3> copies_{DeviceCopy(values_, stream_.get()), DeviceCopy(values_, stream_.get()),
                                    DeviceCopy(values_, stream_.get())};
  std::array<OwnStream, 3> streams_;
  std::vector<NcclPlan> plans_;
};

/// What ends a communicator may wait inside of NCCL, which sets no bound to that.
TEST_F(NcclFailureTest, EndsInTimeWhereAnAbortOfNcclsDoesNot) {
  expect_ranks(2, [](Communicator& communicator) {
    const auto begin = std::chrono::steady_clock::now();
    const auto took = [&] { return std::chrono::steady_clock::now() - begin; };
    std::optional<NcclCommunicator> comm(std::in_place, communicator, Device::cuda(0));
    communicator.barrier();
    if (communicator.rank() == 1) {
      communicator.barrier();
      return;
    }
    StuckPlans stuck(*comm);
    fake().is_abort_stuck = true;
    std::thread other([&] { comm->abort(); });
    other.join();
    for (NcclPlan& plan : stuck.plans()) {
      EXPECT_THROW((void)plan.done(), Error);
      EXPECT_THROW(plan.start(), Error);
    }
    EXPECT_LT(took(), 3s) << "they waited for the abort";
    for (NcclPlan& plan : stuck.plans()) EXPECT_THROW(plan.wait(), Error);
    EXPECT_GT(took(), 4s) << "tensors may be in use";
    EXPECT_LT(took(), 9s) << "each waited for the abort";
    comm.reset();
    fake().is_abort_stuck = false;
    stuck.wait_for_streams();
    communicator.barrier();
  });
}

/// The last of its owners waits for it, but not for ever.
TEST_F(NcclFailureTest, IsLeftToNcclWhereAnAbortDoesNotEnd) {
  fake().is_abort_stuck = true;
  const auto begin = std::chrono::steady_clock::now();
  const auto error = error_of([] {
    (void)transport::make_nccl_links(transport::make_nccl_id(), 0, 2, 0, std::chrono::milliseconds(100));
  });
  const auto took = std::chrono::steady_clock::now() - begin;
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), ErrorCode::timeout) << error->what();
  EXPECT_GT(took, 1s) << "an abort that takes a moment would be left behind";
  EXPECT_LT(took, 15s);
  EXPECT_EQ(fake().aborted, 0);
  fake().is_abort_stuck = false;
  while (fake().aborted == 0) std::this_thread::sleep_for(1ms);
}

/// One bound for all plans of a communicator that its owner has not aborted, when they go; none before.
TEST_F(NcclFailureTest, WaitsOnceForPlansThatItsOwnerDoesNotEnd) {
  const transport::NcclId id = transport::make_nccl_id();
  expect_ranks(2, [&](Communicator& communicator) {
    ncclComm_t callers = make_callers(id, communicator);
    if (communicator.rank() == 0) {
      [[maybe_unused]] const LeaksAreMeant leaks;
      NcclCommunicator comm(callers, {.timeout = 100ms});
      StuckPlans stuck(comm);
      const auto begin = std::chrono::steady_clock::now();
      const auto took = [&] { return std::chrono::steady_clock::now() - begin; };
      for (NcclPlan& plan : stuck.plans()) EXPECT_THROW(plan.wait(), Error);
      EXPECT_LT(took(), 3s) << "they waited for what nobody ends";
      stuck.plans().clear();
      EXPECT_GT(took(), 1s) << "memory that the device may use for a moment more was given up";
      EXPECT_LT(took(), 9s) << "each waited";
      transport::NcclLibrary::get().comm_abort(callers);
      stuck.wait_for_streams();
    }
    communicator.barrier();
    if (communicator.rank() == 1) transport::NcclLibrary::get().comm_abort(callers);
  });
}

}  // namespace
}  // namespace gradwire
