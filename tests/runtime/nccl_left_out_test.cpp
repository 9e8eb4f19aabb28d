#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compress/cuda/device.hpp"
#include "gradwire/error.hpp"
#include "gradwire/nccl.hpp"
#include "transport/nccl/nccl_links.hpp"

// Collectives over NCCL where they cannot be: in a build without it, or without a device.

namespace gradwire {
namespace {

using testing::HasSubstr;

TEST(NcclLeftOut, IsUnsupportedAndSaysWhatTheBuildLacks) {
  if (transport::nccl_information() != "left out of this build") GTEST_SKIP() << "this build has NCCL";
  try {
    const NcclCommunicator comm(nullptr);
    ADD_FAILURE() << "made";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    EXPECT_THAT(error.what(), HasSubstr("GRADWIRE_WITH_NCCL"));
  }
}

TEST(NcclLeftOut, IsUnsupportedWithoutADevice) {
  if (compress::why_no_device().empty()) GTEST_SKIP() << "there is one";
  Communicator alone;
  try {
    const NcclCommunicator comm(alone, Device::cuda(0));
    ADD_FAILURE() << "made";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    EXPECT_THAT(error.what(), HasSubstr("CUDA"));
  }
}

}  // namespace
}  // namespace gradwire
