#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "compress/convert.hpp"
#include "compress/cuda/device.hpp"
#include "gradwire/communicator.hpp"
#include "local_world.hpp"
#include "tests/support/device_copy.hpp"
#include "tests/support/error_of.hpp"
#include "tests/support/has_device.hpp"
#include "tests/support/normal_floats.hpp"

// Tensors on a CUDA device, through a Communicator.

namespace gradwire {
namespace {

using compress::OwnStream;
using testing::HasSubstr;

std::vector<float> random_floats(std::size_t count, unsigned seed) {
  std::vector<float> values = normal_floats(count, seed);
  for (float& value : values) value += 0.3F;
  return values;
}

bool same_bits(const std::vector<float>& one, const std::vector<float>& other) {
  return one.size() == other.size() &&
         (one.empty() || std::memcmp(one.data(), other.data(), sizeof(float) * one.size()) == 0);
}

/// Two tensors, one of which goes compressed with feedback into a shadow.
struct Model {
  explicit Model(int rank, std::size_t count)
      : large(random_floats(count, static_cast<unsigned>(rank))),
        small(random_floats(count / 10, static_cast<unsigned>(rank) + 100)),
        residual(random_floats(count, static_cast<unsigned>(rank) + 200)),
        next(count, -7.0F) {}

  std::vector<float> large;
  std::vector<float> small;
  std::vector<float> residual;
  std::vector<float> next;
};

void run_steps(Plan& plan, int steps) {
  for (int step = 0; step < steps; ++step) {
    plan.run();
    plan.swap_residuals();
  }
}

/// Two steps of the same plan; what is left of the model then.
void run_on_host(Communicator& communicator, Model& model, const OperationOptions& options) {
  const std::array tensors{OperationTensor{model.large, model.residual, model.next, {}},
                           OperationTensor{model.small, {}, {}, "none"}};
  Plan plan = communicator.plan_allreduce(tensors, options);
  run_steps(plan, 2);
}

void run_on_device(Communicator& communicator, Model& model, OperationOptions options) {
  const OwnStream stream;
  const DeviceCopy large(model.large, stream.get());
  const DeviceCopy small(model.small, stream.get());
  const DeviceCopy residual(model.residual, stream.get());
  const DeviceCopy next(model.next, stream.get());
  options.stream = stream.get();
  const std::array tensors{OperationTensor{large.tensor(), residual.span(), next.span(), {}},
                           OperationTensor{small.tensor(), {}, {}, "none"}};
  Plan plan = communicator.plan_allreduce(tensors, options);
  run_steps(plan, 2);
  for (const DeviceCopy* copy : {&large, &small, &residual, &next}) copy->fetch(stream.get());
  stream.wait();
}

class DeviceTensor : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = compress::why_no_device(); !reason.empty()) GTEST_SKIP() << reason;
  }
};
class DeviceTensorOver : public DeviceTensor, public ::testing::WithParamInterface<const char*> {};

TEST_P(DeviceTensorOver, ComesOutAsOnTheHost) {
  for (const char* codec : {"none", "fp16", "onebit"}) {
    for (const int ranks : {1, 2, 4}) {
      for (const bool mixed : {false, true}) {
        SCOPED_TRACE(codec);
        const OperationOptions options{.codec = codec, .average = true};
        const auto adjust = [](CommunicatorOptions& all) { all.transport = GetParam(); };
        std::vector<Model> expected;
        std::vector<Model> models;
        for (int rank = 0; rank < ranks; ++rank) {
          expected.emplace_back(rank, 30'000);
          models.emplace_back(rank, 30'000);
        }
        expect_ranks(
            ranks,
            [&](Communicator& communicator) {
              const auto rank = static_cast<std::size_t>(communicator.rank());
              run_on_host(communicator, expected[rank], options);
              if (mixed && rank % 2 == 1) {
                run_on_host(communicator, models[rank], options);
              } else {
                run_on_device(communicator, models[rank], options);
              }
            },
            adjust);
        for (std::size_t rank = 0; rank < models.size(); ++rank) {
          EXPECT_TRUE(same_bits(models[rank].large, expected[rank].large)) << ranks << " rank " << rank;
          EXPECT_TRUE(same_bits(models[rank].small, expected[rank].small)) << ranks << " rank " << rank;
          EXPECT_TRUE(same_bits(models[rank].residual, expected[rank].residual)) << ranks << " rank " << rank;
          EXPECT_TRUE(same_bits(models[rank].next, expected[rank].next)) << ranks << " rank " << rank;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Transports, DeviceTensorOver, ::testing::Values("inproc", "shm", "tcp"),
                         [](const auto& tested) { return std::string(tested.param); });

TEST_F(DeviceTensor, WaitsForTheCallersStreamAndNeedsNoOtherWait) {
  expect_ranks(3, [](Communicator& communicator) {
    const std::array<OwnStream, 2> streams;
    std::vector<float> values(50'000, -1.0F);
    const DeviceCopy copy(values, streams[0].get());
    streams[0].wait();
    for (int round = 0; round < 20; ++round) {
      // Each call finds the operation of the one before, which had another stream.
      const OwnStream& stream = streams[static_cast<std::size_t>(round) % 2];
      const auto own = static_cast<float>(round + communicator.rank());
      std::fill(values.begin(), values.end(), own);
      compress::copy_on(stream.get(), copy.data(), values.data(), sizeof(float) * values.size());
      communicator.allreduce(copy.tensor(), {.stream = stream.get()});
      copy.fetch(stream.get());
      stream.wait();
      ASSERT_EQ(values.front(), 3.0F * static_cast<float>(round) + 3.0F);
      ASSERT_EQ(values.back(), values.front());
    }
  });
}

TEST_F(DeviceTensor, TakesTheDefaultStreamWhereNoneIsNamed) {
  expect_ranks(2, [](Communicator& communicator) {
    std::vector<float> values(1000, static_cast<float>(communicator.rank() + 1));
    const DeviceCopy copy(values, nullptr);
    communicator.allreduce(copy.tensor());
    copy.fetch(nullptr);
    const compress::Event fetched;
    fetched.record(nullptr);
    fetched.wait();
    EXPECT_EQ(values, std::vector<float>(1000, 3.0F));
  });
}

TEST_F(DeviceTensor, OfManyOperationsAtOnceAreKeptApart) {
  expect_ranks(2, [](Communicator& communicator) {
    communicator.start_progress_thread();
    const OwnStream stream;
    std::vector<std::vector<float>> values;
    for (std::size_t i = 0; i < 10; ++i) values.push_back(random_floats(5000 * i, static_cast<unsigned>(i)));
    auto expected = values;
    std::vector<DeviceCopy> copies;
    copies.reserve(values.size());
    for (auto& each : values) copies.emplace_back(each, stream.get());
    std::vector<Work> works;
    works.reserve(copies.size());
    for (const DeviceCopy& copy : copies) {
      works.push_back(communicator.allreduce_async(copy.tensor(), {.codec = "fp16", .stream = stream.get()}));
    }
    for (Work& work : works) work.wait();
    for (const DeviceCopy& copy : copies) copy.fetch(stream.get());
    stream.wait();
    for (std::size_t i = 0; i < values.size(); ++i) {
      communicator.allreduce(expected[i], {.codec = "fp16"});
      EXPECT_TRUE(same_bits(values[i], expected[i])) << i;
    }
  });
}

TEST_F(DeviceTensor, BecomesNanWhereOneWasFoundAndKeepsItsResidual) {
  for (const OnNonFinite on : {OnNonFinite::error, OnNonFinite::propagate}) {
    const auto errors = run_ranks(3, [&](Communicator& communicator) {
      const OwnStream stream;
      Model model(communicator.rank(), 7001);
      if (communicator.rank() == 1) model.large[4321] = std::numeric_limits<float>::infinity();
      const std::vector<float> before = model.residual;
      std::optional<Error> thrown;
      {
        const DeviceCopy large(model.large, stream.get());
        const DeviceCopy small(model.small, stream.get());
        const DeviceCopy residual(model.residual, stream.get());
        const DeviceCopy next(model.next, stream.get());
        const std::array tensors{OperationTensor{large.tensor(), residual.span(), next.span(), {}},
                                 OperationTensor{small.tensor(), {}, {}, "none"}};
        Plan plan = communicator.plan_allreduce(
            tensors, {.codec = "onebit", .on_non_finite = on, .stream = stream.get()});
        try {
          plan.run();
        } catch (const Error& error) {
          thrown = error;
        }
        EXPECT_TRUE(plan.non_finite());
        for (const DeviceCopy* copy : {&large, &small, &residual, &next}) copy->fetch(stream.get());
        stream.wait();
      }
      const float nan = std::numeric_limits<float>::quiet_NaN();
      EXPECT_TRUE(same_bits(model.large, std::vector<float>(7001, nan)));
      EXPECT_TRUE(same_bits(model.small, std::vector<float>(700, nan)));
      EXPECT_TRUE(same_bits(model.residual, before));
      EXPECT_TRUE(same_bits(model.next, before));
      if (thrown) throw Error(*thrown);
    });
    for (const auto& error : errors) {
      ASSERT_EQ(error.has_value(), on == OnNonFinite::error);
      if (error.has_value()) {
        EXPECT_EQ(error->code(), ErrorCode::non_finite) << error->what();
      }
    }
  }
}

/// A rank gives up while others have kernels and copies under way: these have ended when they are told.
TEST_F(DeviceTensor, IsGivenBackWhenARankIsLost) {
  for (int round = 0; round < 10; ++round) {
    const auto errors = run_ranks(3, [&](Communicator& communicator) {
      const OwnStream stream;
      std::vector<float> values = random_floats(200'000, 1);
      const DeviceCopy copy(values, stream.get());
      if (communicator.rank() == 2) {
        const Work begun =
            communicator.allreduce_async(copy.tensor(), {.codec = "onebit", .stream = stream.get()});
        communicator.abort();
        throw Error(ErrorCode::peer_lost, "itself", "", 2);
      }
      communicator.allreduce(copy.tensor(), {.codec = "onebit", .stream = stream.get()});
    });
    for (const auto& error : errors) {
      ASSERT_TRUE(error.has_value());
      EXPECT_EQ(error->code(), ErrorCode::peer_lost) << error->what();
      EXPECT_EQ(error->peer(), 2);
    }
  }
}

void expect_refused(const std::function<void(Communicator&)>& action, ErrorCode code, const char* words) {
  Communicator alone;
  const auto error = error_of([&] { action(alone); });
  ASSERT_TRUE(error.has_value()) << words;
  EXPECT_EQ(error->code(), code) << error->what();
  EXPECT_THAT(error->what(), HasSubstr(words));
}

TEST_F(DeviceTensor, IsRefusedWhereItIsNot) {
  const OwnStream stream;
  std::vector<float> host(100, 1.0F);
  const DeviceCopy copy(host, stream.get());
  stream.wait();
  const auto refused = [](const Tensor& tensor, const char* words) {
    expect_refused([&](Communicator& alone) { alone.allreduce(tensor); }, ErrorCode::invalid_argument, words);
  };
  refused({host.data(), 100, DType::float32, Device::cuda(0)}, "tensor 0 is no memory that CUDA knows");
  refused({host.data(), 100, DType::float32, Device::cuda(0)}, "pass memory of CUDA device 0");
  refused(copy.tensor(1000), "1000");
  refused(copy.tensor(-1), "-1");
  refused({nullptr, 100, DType::float32, Device::cuda(0)}, "no memory");
  expect_refused(
      [&](Communicator& alone) {
        const OperationTensor tensor{copy.tensor(), host, {}, {}};
        alone.plan_allreduce(std::span(&tensor, 1), {.codec = "onebit"});
      },
      ErrorCode::invalid_argument, "residual");
  expect_refused(
      [&](Communicator& alone) {
        const std::array tensors{OperationTensor{copy.tensor(), {}, {}, {}},
                                 OperationTensor{host, {}, {}, {}}};
        alone.plan_allreduce(tensors);
      },
      ErrorCode::invalid_argument, "on CUDA device 0 and on the host");
}

TEST_F(DeviceTensor, IsRefusedOnAnotherDevice) {
  if (!has_device(1)) GTEST_SKIP() << "it takes two devices";
  const auto memory = compress::allocate_device(400);
  const Tensor elsewhere(memory.get(), 100, DType::float32, Device::cuda(1));
  for (const char* words : {"tensor 0 is memory of CUDA device 0", "pass memory of CUDA device 1"}) {
    expect_refused([&](Communicator& alone) { alone.allreduce(elsewhere); }, ErrorCode::invalid_argument,
                   words);
  }
}

/// Tensors of one operation, with an odd number of bytes to fill each.
TEST_F(DeviceTensor, OfEveryTypeBecomesTheNanThatTheHostHas) {
  constexpr std::array kTypes{DType::float16, DType::bfloat16, DType::float32};
  constexpr std::size_t kCount = 701;
  expect_ranks(2, [&](Communicator& communicator) {
    std::vector<std::vector<std::byte>> elements;
    for (const DType dtype : kTypes) {
      std::vector<float> values = random_floats(kCount, 1);
      if (communicator.rank() == 1) values[600] = -std::numeric_limits<float>::infinity();
      compress::from_float32(dtype, values.data(), elements.emplace_back(kCount * size_of(dtype)).data(),
                             kCount);
    }
    auto expected = elements;
    const OwnStream stream;
    const OperationOptions options{
        .codec = "onebit", .on_non_finite = OnNonFinite::propagate, .stream = stream.get()};
    std::vector<DeviceCopy> copies;
    std::vector<OperationTensor> on_device;
    std::vector<OperationTensor> on_host;
    for (std::size_t i = 0; i < kTypes.size(); ++i) {
      copies.emplace_back(elements[i], stream.get());
      on_device.push_back({copies[i].tensor(0, kTypes[i]), {}, {}, {}});
      on_host.push_back({Tensor(expected[i].data(), kCount, kTypes[i]), {}, {}, {}});
    }
    communicator.plan_allreduce(on_host, options).run();
    communicator.plan_allreduce(on_device, options).run();
    for (const DeviceCopy& copy : copies) copy.fetch(stream.get());
    stream.wait();
    for (std::size_t i = 0; i < kTypes.size(); ++i) {
      EXPECT_TRUE(elements[i] == expected[i]) << to_string(kTypes[i]);
      float first = 0;
      compress::to_float32(kTypes[i], elements[i].data(), &first, 1);
      EXPECT_TRUE(std::isnan(first)) << to_string(kTypes[i]);
    }
  });
}

/// A call without a plan finds its memory looked at as well when it takes an earlier call's operation.
TEST_F(DeviceTensor, IsLookedAtAgainInEveryCall) {
  const OwnStream stream;
  std::vector<float> host(100, 1.0F);
  const DeviceCopy copy(host, stream.get());
  Communicator alone;
  alone.allreduce(copy.tensor(), {.stream = stream.get()});
  const auto error =
      error_of([&] { alone.allreduce(Tensor(host.data(), 100, DType::float32, Device::cuda(0))); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), ErrorCode::invalid_argument);
  if (!has_device(1)) GTEST_SKIP() << "the rest takes two devices";
  const compress::UseDevice other(1);
  const OwnStream foreign;
  const auto of_another_device = error_of([&] { alone.allreduce(copy.tensor(), {.stream = foreign.get()}); });
  ASSERT_TRUE(of_another_device.has_value());
  EXPECT_EQ(of_another_device->code(), ErrorCode::invalid_argument) << of_another_device->what();
  alone.allreduce(copy.tensor(), {.stream = stream.get()});
}

TEST(DeviceTensorWithoutCuda, SaysWhatTheBuildLacks) {
  if (compress::describe_device() != "left out of this build") GTEST_SKIP() << "this build has CUDA";
  std::vector<float> host(100, 1.0F);
  expect_refused(
      [&](Communicator& alone) {
        alone.allreduce(Tensor(host.data(), 100, DType::float32, Device::cuda(0)));
      },
      ErrorCode::unsupported, "GRADWIRE_WITH_CUDA");
}

}  // namespace
}  // namespace gradwire
