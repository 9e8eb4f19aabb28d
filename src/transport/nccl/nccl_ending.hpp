#pragma once

#include <nccl.h>

#include <chrono>
#include <future>
#include <thread>

namespace gradwire::transport {

/// A communicator that is given back to NCCL, on a thread of its own: NCCL sets no bound to how long
/// ncclCommAbort() and ncclCommDestroy() wait, for device work or for other ranks to call them as well.
class NcclEnding {
 public:
  /// `end` is one of these two. Returns at once. Throws Error(system), std::bad_alloc, having done nothing.
  NcclEnding(ncclResult_t (*end)(ncclComm_t), ncclComm_t communicator);
  /// Waits until some seconds after it began. A thread that is then still inside of NCCL is left there.
  ~NcclEnding();
  NcclEnding(const NcclEnding&) = delete;
  NcclEnding& operator=(const NcclEnding&) = delete;

 private:
  std::chrono::steady_clock::time_point deadline_;
  std::future<void> ended_;
  std::thread thread_;
};

}  // namespace gradwire::transport
