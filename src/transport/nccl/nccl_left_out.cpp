#include "gradwire/error.hpp"
#include "transport/nccl/nccl_links.hpp"

// In the place of NCCL in a build without it.

namespace gradwire::transport {
namespace {

[[noreturn]] void refuse() {
  throw Error(ErrorCode::unsupported, "this build of gradwire has no NCCL",
              "install CUDA and NCCL with nccl.h and build it with -DGRADWIRE_WITH_NCCL=ON, or use a "
              "Communicator, which takes tensors on devices too");
}

}  // namespace

std::string nccl_information() { return "left out of this build"; }

int nccl_version() { refuse(); }
std::string nccl_version_text(int /*version*/) { refuse(); }
NcclId make_nccl_id() { refuse(); }
std::unique_ptr<StreamLinks> make_nccl_links(const NcclId& /*id*/, int /*rank*/, int /*ranks*/,
                                             int /*device*/, std::chrono::milliseconds /*timeout*/) {
  refuse();
}
std::unique_ptr<StreamLinks> adopt_nccl_links(::ncclComm* /*communicator*/,
                                              std::chrono::milliseconds /*timeout*/) {
  refuse();
}

}  // namespace gradwire::transport
