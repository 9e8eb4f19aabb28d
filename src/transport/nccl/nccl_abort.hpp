#pragma once

#include <chrono>
#include <future>
#include <thread>

#include "transport/nccl/nccl_library.hpp"

namespace gradwire::transport {

/// An ncclCommAbort() on a thread of its own: NCCL sets no bound to how long that waits for the device, or
/// for other ranks of the host to call it as well.
class NcclAbort {
 public:
  /// Returns at once. The library outlives it. Throws Error(system), std::bad_alloc, having done nothing.
  NcclAbort(const NcclLibrary& library, ncclComm_t communicator);
  /// Waits until some seconds after it began. A thread that is then still inside of NCCL is left there.
  ~NcclAbort();
  NcclAbort(const NcclAbort&) = delete;
  NcclAbort& operator=(const NcclAbort&) = delete;

 private:
  std::chrono::steady_clock::time_point deadline_;
  std::future<void> ended_;
  std::thread thread_;
};

}  // namespace gradwire::transport
