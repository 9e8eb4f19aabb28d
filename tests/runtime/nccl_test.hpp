#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstring>
#include <span>
#include <stdexcept>
#include <vector>

#include "compress/cuda/emulated_device.hpp"
#include "gradwire/nccl.hpp"
#include "local_world.hpp"
#include "tests/support/device_copy.hpp"
#include "tests/support/fake_nccl/fake_nccl.hpp"
#include "transport/nccl/nccl_library.hpp"
#include "transport/nccl/nccl_links.hpp"

namespace gradwire {

inline FakeNccl& fake() {
  static FakeNccl* const instance = [] {
    void* const library = ::dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    const auto get = reinterpret_cast<FakeNccl* (*)()>(::dlsym(library, "fake_nccl"));
    if (get != nullptr) get()->put_on = compress::emulated::put_on;
    return get != nullptr ? get() : nullptr;
  }();
  if (instance == nullptr) throw std::logic_error("libnccl.so.2 is not the tests' own");
  return *instance;
}

/// A test that tells the fake what to do. Suites that know nothing of it run before or after in the same
/// program: they find a fake that works, and may leave one that has counted.
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
inline void reduce(NcclCommunicator& comm, std::size_t count, const char* codec = "fp16") {
  const compress::OwnStream stream;
  std::vector<float> values(count, static_cast<float>(comm.rank() + 1));
  const DeviceCopy copy(values, stream.get());
  const OperationTensor tensor{copy.tensor(), {}, {}, {}};
  stream.wait();
  NcclPlan plan = comm.plan_allreduce(std::span(&tensor, 1), {.codec = codec, .stream = stream.get()});
  plan.run();
  copy.fetch(stream.get());
  stream.wait();
  const int ranks = comm.world_size();
  const int sum = ranks * (ranks + 1) / 2;
  EXPECT_EQ(values, std::vector<float>(count, static_cast<float>(sum)));
}

/// A rank's communicator that is made without Gradwire. Collective.
inline ncclComm_t make_callers(const transport::NcclId& id, Communicator& ranks, bool blocks = false) {
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

}  // namespace gradwire
