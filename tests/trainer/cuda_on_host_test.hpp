#pragma once

#include <gtest/gtest.h>

#include <string>

#include "devices.hpp"
#include "trainer/gemm.hpp"

namespace gradwire::trainer {

/// Tests over the CUDA of tests/compress/cuda_on_host: each gives back what it took, and keeps no core busy.
class CudaComputeOnHost : public testing::Test {
 protected:
  CudaComputeOnHost() {
    set_gemm_threads(1);
    cuda_on_host::world().sleeping_waits = 0;
    cuda_on_host::world().spinning_waits = 0;
    cuda_on_host::world().early_frees = 0;
  }
  void TearDown() override {
    cuda_on_host::world().refusals.clear();
    cuda_on_host::world().majors = {9, 9};
    EXPECT_EQ(cuda_on_host::world().spinning_waits, 0);
    EXPECT_EQ(cuda_on_host::world().early_frees, 0);
    EXPECT_TRUE(cuda_on_host::world().memory.empty()) << "memory was not given back";
    EXPECT_TRUE(cuda_on_host::world().streams.empty()) << "a stream was not given back";
  }

  static int waits() { return cuda_on_host::world().sleeping_waits; }
  static void refuse(const std::string& function, int status) {
    cuda_on_host::world().refusals[function] = status;
  }
};

}  // namespace gradwire::trainer
