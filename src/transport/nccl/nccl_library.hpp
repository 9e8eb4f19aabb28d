#pragma once

#include <nccl.h>

#include <string>

#include "gradwire/error.hpp"

namespace gradwire::transport {

/// NCCL's functions, under their names without prefix, in a library that is loaded when they are first asked
/// for: programs that do not use it run on hosts without it. Thread-safe.
class NcclLibrary {
 public:
  /// As it is installed on this host, loaded by the first call.
  static const NcclLibrary& get();
  /// Throws Error(unsupported) where the file cannot be loaded, or is no NCCL of a version that this build
  /// can use.
  explicit NcclLibrary(const char* file);

  /// 22803 is 2.28.3.
  [[nodiscard]] int version() const;
  /// That NCCL "could not <doing>", with its words. `communicator` may be null.
  [[nodiscard]] Error error(const std::string& doing, ncclResult_t result, ncclComm_t communicator) const;

  decltype(&::ncclGetVersion) get_version = nullptr;
  decltype(&::ncclGetErrorString) get_error_string = nullptr;
  decltype(&::ncclGetLastError) get_last_error = nullptr;
  decltype(&::ncclGetUniqueId) get_unique_id = nullptr;
  decltype(&::ncclCommInitRankConfig) comm_init_rank_config = nullptr;
  decltype(&::ncclCommFinalize) comm_finalize = nullptr;
  decltype(&::ncclCommDestroy) comm_destroy = nullptr;
  decltype(&::ncclCommAbort) comm_abort = nullptr;
  decltype(&::ncclCommGetAsyncError) comm_get_async_error = nullptr;
  decltype(&::ncclCommCount) comm_count = nullptr;
  decltype(&::ncclCommCuDevice) comm_cu_device = nullptr;
  decltype(&::ncclCommUserRank) comm_user_rank = nullptr;
  decltype(&::ncclGroupStart) group_start = nullptr;
  decltype(&::ncclGroupEnd) group_end = nullptr;
  decltype(&::ncclSend) send = nullptr;
  decltype(&::ncclRecv) recv = nullptr;
  decltype(&::ncclAllReduce) all_reduce = nullptr;
};

}  // namespace gradwire::transport
