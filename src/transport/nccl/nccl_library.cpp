#include "transport/nccl/nccl_library.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

namespace gradwire::transport {
namespace {

/// The first whose communicators can be finalized and aborted while they are being made, as is done here.
constexpr int kOldest = NCCL_VERSION(2, 18, 0);
static_assert(NCCL_VERSION_CODE >= kOldest, "cmake looks for a younger nccl.h");

constexpr const char* kAdvice =
    "install NCCL 2.18 or later on this host (libnccl2), or use a Communicator, which takes tensors on "
    "devices too";

/// Never closed: NCCL has threads of its own.
void* open_library(const char* file) {
  void* const handle = ::dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* const why = ::dlerror();
    throw Error(ErrorCode::unsupported, fmt::format("NCCL cannot be loaded: {}", why != nullptr ? why : file),
                kAdvice);
  }
  return handle;
}

template <typename Function>
void find(void* handle, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(handle, name));
  if (function == nullptr) {
    throw Error(ErrorCode::unsupported, fmt::format("the NCCL of this host lacks {}", name), kAdvice);
  }
}

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
  void* const handle = open_library(file);
  find(handle, "ncclGetVersion", get_version);
  if (version() < kOldest) {
    throw Error(ErrorCode::unsupported,
                fmt::format("NCCL is of version {} here, and gradwire needs {} or later",
                            nccl_version_text(version()), nccl_version_text(kOldest)),
                kAdvice);
  }
  find(handle, "ncclGetErrorString", get_error_string);
  find(handle, "ncclGetLastError", get_last_error);
  find(handle, "ncclGetUniqueId", get_unique_id);
  find(handle, "ncclCommInitRankConfig", comm_init_rank_config);
  find(handle, "ncclCommFinalize", comm_finalize);
  find(handle, "ncclCommDestroy", comm_destroy);
  find(handle, "ncclCommAbort", comm_abort);
  find(handle, "ncclCommGetAsyncError", comm_get_async_error);
  find(handle, "ncclCommCount", comm_count);
  find(handle, "ncclCommCuDevice", comm_cu_device);
  find(handle, "ncclCommUserRank", comm_user_rank);
  find(handle, "ncclGroupStart", group_start);
  find(handle, "ncclGroupEnd", group_end);
  find(handle, "ncclSend", send);
  find(handle, "ncclRecv", recv);
  find(handle, "ncclAllReduce", all_reduce);
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
