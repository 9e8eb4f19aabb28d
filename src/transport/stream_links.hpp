#pragma once

#include <cstddef>

#include <fmt/format.h>

#include "gradwire/error.hpp"

// What cuda_runtime.h calls cudaStream_t.
struct CUstream_st;  // NOLINT(readability-identifier-naming)

namespace gradwire::transport {

/// What connects ranks whose tensors are on devices, one device a rank, where sends and receives are work on
/// a CUDA stream like kernels: they begin after what the stream holds, and read and write device memory. No
/// function waits for the device; the first sends between two ranks may wait until these are connected. One
/// thread at a time may use it, but for interrupt().
///
/// What they throw leaves them unusable: Error(peer_lost, system, unsupported). But where a send, a receive
/// or a sum is refused, which is Error(invalid_argument), nothing of its group comes onto the stream, and
/// check() knows whether they can still be used.
class StreamLinks {
 public:
  virtual ~StreamLinks() = default;

  [[nodiscard]] virtual int rank() const noexcept = 0;
  [[nodiscard]] virtual int ranks() const noexcept = 0;
  /// As CUDA numbers it in this process. It is the current one whenever a function is called.
  [[nodiscard]] virtual int device() const noexcept = 0;

  /// All sends and receives between these two are under way at once, none waits for another; between two
  /// ranks they match in the order of the calls. They are on the stream when end_group() has returned.
  virtual void begin_group() = 0;
  virtual void end_group() = 0;
  /// Memory that stays as it is until the stream has passed this.
  virtual void send(int peer, const std::byte* bytes, std::size_t count, ::CUstream_st* stream) = 0;
  virtual void receive(int peer, std::byte* bytes, std::size_t count, ::CUstream_st* stream) = 0;
  /// The sum over all ranks, or their mean, in place, by whatever the links themselves do for that.
  virtual void all_reduce(float* values, std::size_t count, bool average, ::CUstream_st* stream) = 0;

  /// Throws what has gone wrong with work that is on a stream already.
  virtual void check() = 0;
  /// Lets a call of another thread, or the next, throw gave_up() rather than wait for other ranks. Any
  /// thread.
  virtual void interrupt() noexcept = 0;
  /// Begins to end what waits for other ranks, so that streams come to their ends, with whatever in the
  /// memory. Returns at once, if the process can have one more thread; false where that is left to somebody
  /// else. Only the destructor comes after it, which waits some seconds for the rest of it, and no longer.
  virtual bool abort() noexcept = 0;
};

/// What is thrown where this rank itself gave its links up.
inline Error gave_up(int rank) {
  return {ErrorCode::peer_lost, fmt::format("rank {} gave up its communicator", rank),
          "find out why that rank gave up, and make a new communicator", rank};
}

}  // namespace gradwire::transport
