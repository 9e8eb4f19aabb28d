#include "transport/nccl/nccl_library.hpp"

#include <fmt/format.h>

#include "base/shared_library.hpp"
#include "transport/nccl/nccl_links.hpp"

namespace gradwire::transport {
namespace {

/// The first whose communicators can be finalized and aborted while they are being made, as is done here.
constexpr int kOldest = NCCL_VERSION(2, 18, 0);
static_assert(NCCL_VERSION_CODE >= kOldest, "cmake looks for a younger nccl.h");

constexpr const char* kAdvice =
    "install NCCL 2.18 or later on this host (libnccl2), or use a Communicator, which takes tensors on "
    "devices too";

ErrorCode code_of(ncclResult_t result) noexcept {
  switch (result) {
    case ncclRemoteError: return ErrorCode::peer_lost;
    case ncclInvalidArgument:
    case ncclInvalidUsage: return ErrorCode::invalid_argument;
    default: return ErrorCode::system;
  }
}

const char* advice_for(ncclResult_t result) noexcept {
  switch (result) {
    case ncclRemoteError: return "find the rank that died or lost its network, and make a new communicator";
    case ncclInvalidArgument:
    case ncclInvalidUsage:
      return "give each rank a device of its own, and a communicator that lives; NCCL_DEBUG=WARN says more";
    default: return "NCCL_DEBUG=WARN says more; then make a new communicator";
  }
}

}  // namespace

const NcclLibrary& NcclLibrary::get() {
  static const NcclLibrary library("libnccl.so.2");
  return library;
}

NcclLibrary::NcclLibrary(const char* file) {
  const base::SharedLibrary library(file, "NCCL", kAdvice);
  library.find("ncclGetVersion", get_version);
  if (version() < kOldest) {
    throw Error(ErrorCode::unsupported,
                fmt::format("NCCL is of version {} here, and gradwire needs {} or later",
                            nccl_version_text(version()), nccl_version_text(kOldest)),
                kAdvice);
  }
  library.find("ncclGetErrorString", get_error_string);
  library.find("ncclGetLastError", get_last_error);
  library.find("ncclGetUniqueId", get_unique_id);
  library.find("ncclCommInitRankConfig", comm_init_rank_config);
  library.find("ncclCommFinalize", comm_finalize);
  library.find("ncclCommDestroy", comm_destroy);
  library.find("ncclCommAbort", comm_abort);
  library.find("ncclCommGetAsyncError", comm_get_async_error);
  library.find("ncclCommCount", comm_count);
  library.find("ncclCommCuDevice", comm_cu_device);
  library.find("ncclCommUserRank", comm_user_rank);
  library.find("ncclGroupStart", group_start);
  library.find("ncclGroupEnd", group_end);
  library.find("ncclSend", send);
  library.find("ncclRecv", recv);
  library.find("ncclAllReduce", all_reduce);
}

int NcclLibrary::version() const {
  int version = 0;
  return get_version(&version) == ncclSuccess ? version : 0;
}

Error NcclLibrary::error(const std::string& doing, ncclResult_t result, ncclComm_t communicator) const {
  const char* const details = get_last_error(communicator);
  return {code_of(result),
          fmt::format("NCCL could not {}: {}{}", doing, get_error_string(result),
                      details != nullptr && *details != '\0' ? fmt::format(" ({})", details) : std::string()),
          advice_for(result)};
}

std::string nccl_version_text(int version) {
  return fmt::format("{}.{}.{}", version / 10'000, version / 100 % 100, version % 100);
}

}  // namespace gradwire::transport
