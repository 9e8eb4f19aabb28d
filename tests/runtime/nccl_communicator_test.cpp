#include "gradwire/nccl.hpp"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

#include <array>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "compress/cuda/emulated_device.hpp"
#include "gradwire/error.hpp"
#include "local_world.hpp"
#include "tests/support/device_copy.hpp"
#include "tests/support/error_of.hpp"
#include "tests/support/fake_nccl/fake_nccl.hpp"
#include "transport/nccl/nccl_library.hpp"
#include "transport/nccl/nccl_links.hpp"

// The public face of collectives over NCCL, and what calls NCCL, with an NCCL and with devices of the tests'.

namespace gradwire {
namespace {

using compress::OwnStream;
using testing::HasSubstr;
using namespace std::chrono_literals;

FakeNccl& fake() {
  static FakeNccl* const instance = [] {
    void* const library = ::dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    const auto get = reinterpret_cast<FakeNccl* (*)()>(::dlsym(library, "fake_nccl"));
    if (get != nullptr) get()->put_on = compress::emulated::put_on;
    return get != nullptr ? get() : nullptr;
  }();
  if (instance == nullptr) throw std::logic_error("libnccl.so.2 is not the tests' own");
  return *instance;
}

/// The tests for real devices run here as well, as one rank, and know nothing of the fake.
const FakeNccl& for_all_tests = fake();  // NOLINT(cert-err58-cpp): the program is of no use without it

/// A test that tells the fake what to do. The other suite of this program knows nothing of it, and runs
/// before or after: it finds a fake that works, and may leave one that has counted.
class NcclTest : public testing::Test {
 protected:
  void SetUp() override { renew_fake(); }
  void TearDown() override { renew_fake(); }

  static void renew_fake() {
    fake().failing_function.clear();
    fake().async_error = ncclSuccess;
    fake().is_stuck = false;
    fake().is_abort_stuck = false;
    fake().destroyed = 0;
    fake().aborted = 0;
  }

  static void plant(const char* function, ncclResult_t result, int calls_before = 0) {
    fake().calls_before_failure = calls_before;
    fake().failure = result;
    fake().failing_function = function;
  }
};

/// One allreduce of as many elements, over NCCL.
void reduce(NcclCommunicator& comm, std::size_t count, const char* codec = "fp16") {
  const OwnStream stream;
  std::vector<float> values(count, static_cast<float>(comm.rank() + 1));
  const DeviceCopy copy(values, stream.get());
  const OperationTensor tensor{copy.tensor(), {}, {}, {}};
  stream.wait();
  NcclPlan plan = comm.plan_allreduce(std::span(&tensor, 1), {.codec = codec, .stream = stream.get()});
  plan.run();
  copy.fetch(stream.get());
  stream.wait();
  const int ranks = comm.world_size();
  EXPECT_EQ(values, std::vector<float>(count, static_cast<float>(ranks * (ranks + 1) / 2)));
}

TEST_F(NcclTest, HasTheBitsOfTheCommunicatorThatItIsMadeWith) {
  for (const int ranks : {1, 2, 4}) {
    expect_ranks(ranks, [](Communicator& communicator) {
      std::vector<float> values(30'000);
      for (std::size_t i = 0; i < values.size(); ++i) {
        values[i] = std::sin(static_cast<float>(i) + 0.1F * static_cast<float>(communicator.rank()));
      }
      std::vector<float> expected = values;
      std::vector<float> residual(values.size(), 0.25F);
      std::vector<float> expected_residual = residual;
      OperationOptions options{.codec = "onebit", .algorithm = "two-shot", .average = true};
      for (int i = 0; i < 3; ++i) communicator.allreduce(expected, options, expected_residual);

      NcclCommunicator comm(communicator, Device::cuda(0));
      EXPECT_EQ(comm.rank(), communicator.rank());
      EXPECT_EQ(comm.world_size(), communicator.world_size());
      EXPECT_EQ(comm.device(), Device::cuda(0));
      const OwnStream stream;
      const DeviceCopy copy(values, stream.get());
      const DeviceCopy feedback(residual, stream.get());
      const OperationTensor tensor{copy.tensor(), feedback.span(), {}, {}};
      options.stream = stream.get();
      NcclPlan plan = comm.plan_allreduce(std::span(&tensor, 1), options);
      for (int i = 0; i < 3; ++i) plan.start();
      plan.wait();
      EXPECT_TRUE(plan.done());
      EXPECT_NE(plan.event(), nullptr);
      EXPECT_FALSE(plan.non_finite());
      EXPECT_EQ(plan.algorithm(), "two-shot");
      EXPECT_EQ(plan.wire_bytes() > 0, communicator.world_size() > 1);
      copy.fetch(stream.get());
      feedback.fetch(stream.get());
      stream.wait();
      EXPECT_EQ(values, expected);
      EXPECT_EQ(residual, expected_residual);
    });
    EXPECT_EQ(fake().destroyed, ranks);
    EXPECT_EQ(fake().aborted, 0);
    renew_fake();
  }
}

TEST_F(NcclTest, LeavesPlainAllreducesToNccl) {
  expect_ranks(3, [](Communicator& communicator) {
    NcclCommunicator comm(communicator, Device::cuda(0));
    reduce(comm, 1000, "none");
    const OwnStream stream;
    const OperationOptions options{.stream = stream.get()};
    std::vector<float> values(96, 1.0F);
    const DeviceCopy copy(values, stream.get());
    stream.wait();
    const OperationTensor tensor{copy.tensor(), {}, {}, {}};
    EXPECT_EQ(comm.plan_allreduce(std::span(&tensor, 1), options).algorithm(), "nccl");
    NcclPlan scatter = comm.plan_reduce_scatter(std::span(&tensor, 1), options);
    const auto begin = static_cast<std::size_t>(32 * comm.rank());
    EXPECT_EQ(scatter.owned(0), std::pair(begin, begin + 32));
    EXPECT_THROW((void)scatter.owned(1), Error);
    scatter.run();
    comm.plan_allgather(std::span(&tensor, 1), options).run();
    copy.fetch(stream.get());
    stream.wait();
    EXPECT_EQ(values, std::vector<float>(96, 3.0F));
  });
}

/// A tensor that is large until it is encoded is not what most bytes are of.
TEST_F(NcclTest, NamesTheAlgorithmOfMostBytes) {
  expect_ranks(2, [](Communicator& communicator) {
    NcclCommunicator comm(communicator, Device::cuda(0));
    const OwnStream stream;
    std::vector<float> values(40'000);
    const DeviceCopy copy(values, stream.get());
    stream.wait();
    for (const std::size_t plain : {100, 8'000}) {
      const OperationTensor encoded{Tensor(copy.data(), 32'000, DType::float32, Device::cuda(0)), {}, {}, {}};
      const OperationTensor raw{
          Tensor(copy.data() + 32'000, plain, DType::float32, Device::cuda(0)), {}, {}, "none"};
      const std::array on_device{encoded, raw};
      const NcclPlan plan = comm.plan_allreduce(
          on_device, {.codec = "onebit", .algorithm = "two-shot", .stream = stream.get()});
      EXPECT_EQ(plan.algorithm(), plain == 100 ? "two-shot" : "nccl");
    }
  });
}

TEST_F(NcclTest, ThrowsNonFiniteOrPropagatesIt) {
  for (const OnNonFinite on : {OnNonFinite::error, OnNonFinite::propagate}) {
    const auto errors = run_ranks(2, [&](Communicator& communicator) {
      NcclCommunicator comm(communicator, Device::cuda(0));
      const OwnStream stream;
      std::vector<float> values(2000, 1.0F);
      if (comm.rank() == 1) values[7] = std::numeric_limits<float>::quiet_NaN();
      const DeviceCopy copy(values, stream.get());
      stream.wait();
      const OperationTensor tensor{copy.tensor(), {}, {}, {}};
      NcclPlan plan = comm.plan_allreduce(std::span(&tensor, 1),
                                          {.codec = "bf16", .on_non_finite = on, .stream = stream.get()});
      const auto error = error_of([&] { plan.run(); });
      EXPECT_TRUE(plan.non_finite());
      copy.fetch(stream.get());
      stream.wait();
      for (const float value : values) ASSERT_TRUE(std::isnan(value));
      if (error) throw Error(*error);
    });
    for (const auto& error : errors) {
      ASSERT_EQ(error.has_value(), on == OnNonFinite::error);
      if (error.has_value()) {
        EXPECT_EQ(error->code(), ErrorCode::non_finite);
      }
    }
  }
}

/// A rank's communicator that is made without Gradwire. Collective.
ncclComm_t make_callers(const transport::NcclId& id, Communicator& ranks, bool blocks = false) {
  ncclUniqueId unique{};
  std::memcpy(unique.internal, id.data(), id.size());
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = blocks ? 1 : 0;
  ncclComm_t callers = nullptr;
  transport::NcclLibrary::get().comm_init_rank_config(&callers, ranks.world_size(), unique, ranks.rank(),
                                                      &config);
  ranks.barrier();
  return callers;
}

TEST_F(NcclTest, UsesACommunicatorOfTheCallersAndLeavesItToHim) {
  const transport::NcclId id = transport::make_nccl_id();
  expect_ranks(2, [&](Communicator& communicator) {
    ncclComm_t callers = make_callers(id, communicator);
    {
      NcclCommunicator comm(callers, {.hosts = {0, 0}});
      EXPECT_EQ(comm.rank(), communicator.rank());
      EXPECT_EQ(comm.world_size(), 2);
      reduce(comm, 5000);
    }
    communicator.barrier();
    EXPECT_EQ(fake().destroyed, 0);
    communicator.barrier();
    transport::NcclLibrary::get().comm_destroy(callers);
  });
  const auto error = error_of([] { const NcclCommunicator none(nullptr); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), ErrorCode::invalid_argument);
}

/// Whoever has made the communicator.
TEST_F(NcclTest, UsesTheCodecOfTheEnvironment) {
  const transport::NcclId id = transport::make_nccl_id();
  ::setenv("GRADWIRE_CODEC", "none", 1);
  expect_ranks(
      2,
      [&](Communicator& communicator) {
        ncclComm_t callers = make_callers(id, communicator);
        {
          const std::array comms{NcclCommunicator(callers), NcclCommunicator(communicator, Device::cuda(0))};
          const OwnStream stream;
          std::vector<float> values(1000, 1.0F);
          const DeviceCopy copy(values, stream.get());
          stream.wait();
          const OperationTensor tensor{copy.tensor(), {}, {}, {}};
          for (NcclCommunicator comm : comms) {
            const OperationOptions options{.codec = "fp16", .stream = stream.get()};
            EXPECT_EQ(comm.plan_allreduce(std::span(&tensor, 1), options).algorithm(), "nccl");
          }
        }
        communicator.barrier();
        transport::NcclLibrary::get().comm_destroy(callers);
      },
      [](CommunicatorOptions& options) { options.codec = Communicator::options_from_environment().codec; });
  ::unsetenv("GRADWIRE_CODEC");
}

/// Whoever can't take part says why, and the others who it is.
TEST_F(NcclTest, IsRefusedOnAllRanksWhereOneCannot) {
  const auto errors = run_ranks(3, [](Communicator& communicator) {
    const NcclCommunicator comm(communicator, communicator.rank() == 1 ? Device() : Device::cuda(0));
  });
  for (const auto& error : errors) ASSERT_TRUE(error.has_value());
  EXPECT_EQ(errors[1]->code(), ErrorCode::invalid_argument);
  EXPECT_THAT(errors[1]->what(), HasSubstr("on the host"));
  for (const std::size_t rank : {0, 2}) {
    EXPECT_EQ(errors[rank]->code(), ErrorCode::unsupported) << errors[rank]->what();
    EXPECT_EQ(errors[rank]->peer(), 1);
  }
}

TEST_F(NcclTest, IsRefusedOnAllRanksWhereVersionsDiffer) {
  const auto errors = run_ranks(3, [](Communicator& communicator) {
    if (communicator.rank() == 2) fake().set_version(21'805);
    const NcclCommunicator comm(communicator, Device::cuda(0));
  });
  for (const auto& error : errors) {
    ASSERT_TRUE(error.has_value());
    EXPECT_EQ(error->code(), ErrorCode::unsupported);
    EXPECT_EQ(error->peer(), 2);
    EXPECT_THAT(error->what(), HasSubstr("rank 2 has NCCL 2.18.5, and rank 0 has 2.99.0"));
  }
}

TEST_F(NcclTest, EndsInTimeWhereARankDoesNotComeToConnect) {
  const auto begin = std::chrono::steady_clock::now();
  const auto error = error_of([] {
    (void)transport::make_nccl_links(transport::make_nccl_id(), 0, 2, 0, std::chrono::milliseconds(100));
  });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), ErrorCode::timeout) << error->what();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
  EXPECT_EQ(fake().aborted, 1);
}

TEST_F(NcclTest, ThrowsWhatNcclRefusesAndLeavesItsGroup) {
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
TEST_F(NcclTest, GoesOnAfterWhatNcclRefusedAtOnce) {
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
TEST_F(NcclTest, GivesUpACommunicatorThatRemembersWhatWasRefused) {
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
TEST_F(NcclTest, GivesUpACommunicatorThatRefusesThePartsOfARunThatHasBegun) {
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

TEST_F(NcclTest, ThrowsWhatNcclFindsOutLater) {
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

TEST_F(NcclTest, CanBeGivenUp) {
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
TEST_F(NcclTest, CanBeGivenUpWhileNcclConnects) {
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
    const OperationTensor tensor{copy_.tensor(), {}, {}, {}};
    for (const OwnStream& stream : streams_) {
      stream_.wait();
      plans_.push_back(comm.plan_allreduce(std::span(&tensor, 1), {.codec = "fp16", .stream = stream.get()}));
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
  DeviceCopy copy_{values_, stream_.get()};
  std::array<OwnStream, 3> streams_;
  std::vector<NcclPlan> plans_;
};

/// What streams use for ever is not freed.
class LeaksAreMeant {
 public:
#ifdef __SANITIZE_ADDRESS__
  LeaksAreMeant() { __lsan_disable(); }
  ~LeaksAreMeant() { __lsan_enable(); }
#else
  LeaksAreMeant() = default;
  ~LeaksAreMeant() = default;
#endif
  LeaksAreMeant(const LeaksAreMeant&) = delete;
  LeaksAreMeant& operator=(const LeaksAreMeant&) = delete;
};

/// What ends a communicator may wait inside of NCCL, which sets no bound to that.
TEST_F(NcclTest, EndsInTimeWhereAnAbortOfNcclsDoesNot) {
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
TEST_F(NcclTest, IsLeftToNcclWhereAnAbortDoesNotEnd) {
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
TEST_F(NcclTest, WaitsOnceForPlansThatItsOwnerDoesNotEnd) {
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

/// Nobody waits for one that was told nonsense.
TEST_F(NcclTest, IsRefusedOnAllRanksWhereOneHasWrongOptions) {
  for (const NcclOptions& wrong : {NcclOptions{.timeout = 0ms}, NcclOptions{.hosts = {0, 0, 0}}}) {
    const auto errors = run_ranks(2, [&](Communicator& communicator) {
      const NcclCommunicator comm(communicator, Device::cuda(0),
                                  communicator.rank() == 1 ? wrong : NcclOptions());
    });
    ASSERT_TRUE(errors[0].has_value() && errors[1].has_value());
    EXPECT_EQ(errors[1]->code(), ErrorCode::invalid_argument) << errors[1]->what();
    EXPECT_EQ(errors[0]->code(), ErrorCode::unsupported) << errors[0]->what();
    EXPECT_EQ(errors[0]->peer(), 1);
  }
}

TEST_F(NcclTest, TakesTheLongestTimeoutThereIs) {
  expect_ranks(2, [](Communicator& communicator) {
    NcclCommunicator comm(communicator, Device::cuda(0), {.timeout = std::chrono::milliseconds::max()});
    reduce(comm, 5000);
  });
}

TEST_F(NcclTest, IsUnsupportedWhereTheLibraryDoesNotFit) {
  const auto load = [](const char* file) {
    return error_of([&] { const transport::NcclLibrary library(file); });
  };
  auto error = load("libnccl_of_another_host.so.2");
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), ErrorCode::unsupported);
  EXPECT_THAT(error->what(), HasSubstr("NCCL cannot be loaded: libnccl_of_another_host.so.2"));
  error = load("libm.so.6");
  ASSERT_TRUE(error.has_value());
  EXPECT_THAT(error->what(), HasSubstr("lacks ncclGetVersion"));
  fake().set_version(21'706);
  error = load("libnccl.so.2");
  fake().set_version(0);
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), ErrorCode::unsupported);
  EXPECT_THAT(error->what(), HasSubstr("NCCL is of version 2.17.6 here, and gradwire needs 2.18.0 or later"));
}

TEST_F(NcclTest, PlansNothingWithoutACommunicator) {
  NcclPlan plan;
  EXPECT_THROW(plan.start(), Error);
  EXPECT_THROW((void)plan.done(), Error);
}

}  // namespace
}  // namespace gradwire
