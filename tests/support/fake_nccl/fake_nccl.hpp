#pragma once

#include <nccl.h>

#include <atomic>
#include <functional>
#include <string>

/// A libnccl.so.2 for ranks that are threads of one process with emulated devices. It answers as NCCL does to
/// communicators that do not block: later.
struct FakeNccl {
  /// Puts work on an emulated stream.
  std::function<void(cudaStream_t, std::function<void()>)> put_on;
  /// What a next call of a function answers, in any thread, without doing anything. Where that belongs to a
  /// group, nothing of it will be done, and a communicator that does not block remembers it.
  std::string failing_function;
  ncclResult_t failure = ncclSuccess;
  int calls_before_failure = 0;
  /// What all communicators find out.
  std::atomic<ncclResult_t> async_error{ncclSuccess};
  /// NCCL waits for ranks to connect, and says so whenever it is asked.
  std::atomic<bool> is_stuck{false};
  /// ncclCommAbort waits for what does not come: while this is so, and for half a minute at the most.
  std::atomic<bool> is_abort_stuck{false};
  std::atomic<int> destroyed{0};
  std::atomic<int> aborted{0};

  /// Of the calling thread: the version it sees.
  void (*set_version)(int version) = nullptr;
};

extern "C" FakeNccl* fake_nccl();
