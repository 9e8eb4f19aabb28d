#include "gradwire/nccl.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "gradwire/error.hpp"
#include "local_world.hpp"
#include "nccl_test.hpp"
#include "tests/support/device_copy.hpp"
#include "tests/support/error_of.hpp"
#include "transport/nccl/nccl_library.hpp"
#include "transport/nccl/nccl_links.hpp"

// The public face of collectives over NCCL, with an NCCL and with devices of the tests'.

namespace gradwire {
namespace {

using compress::OwnStream;
using testing::HasSubstr;
using namespace std::chrono_literals;

/// The tests for real devices run here as well, as one rank, and know nothing of the fake.
const FakeNccl& for_all_tests = fake();  // NOLINT(cert-err58-cpp): the program is of no use without it

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
