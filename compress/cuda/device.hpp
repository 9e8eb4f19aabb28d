#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

// What cuda_runtime.h calls cudaStream_t and cudaEvent_t; only .cu files include that.
struct CUstream_st;  // NOLINT(readability-identifier-naming)
struct CUevent_st;   // NOLINT(readability-identifier-naming)

namespace gradwire::compress {

/// The caller's; null is the default stream. It belongs to the device that is current.
using Stream = ::CUstream_st*;

/// Empty when kernels can run here on the current device. Otherwise why not: this build has none, there is no
/// driver or no device, the device is too old or does not answer.
std::string why_no_device();

/// Throws Error(unsupported) with that reason.
void require_device(std::string_view purpose);

/// One line for `gradwire info`. What is wrong with a device is in it, and never thrown.
std::string describe_device();

// All below throw Error(unsupported) where no kernel can run, Error(invalid_argument) for a stream or memory
// of another device, Error(system) for what else CUDA refuses, which can be the failure of an earlier kernel.

/// While it lives, a device is the current one of this thread. Throws Error(invalid_argument) when there is
/// none of that number.
class UseDevice {
 public:
  explicit UseDevice(int device);
  ~UseDevice();  // NOLINT(performance-trivially-destructible): trivial without CUDA only
  UseDevice(const UseDevice&) = delete;
  UseDevice& operator=(const UseDevice&) = delete;

  /// From now on, on this thread, the last one used stays the current one. For threads of our own: to make a
  /// device current again that nobody ever used would put a context on it.
  static void leave_current_on_this_thread() noexcept;

 private:
  static constexpr int kUnchanged = -1;
  [[maybe_unused]] int before_ = kUnchanged;  // a build without CUDA changes nothing
};

/// Throws unless the stream belongs to the current device. A runtime or driver older than CUDA 12.8 cannot
/// tell, and all streams pass: kernels are refused on a foreign one then, copies are not.
void require_device_stream(Stream stream);

/// Throws unless the pointer is to memory of the current device, or managed memory, which is everywhere.
/// Kernels that get another one end the process's use of CUDA. `what` begins the message: "tensor 'x'". For
/// plans to call once, off the hot path.
void require_device_memory(const void* pointer, std::string_view what);

// Destroy what follows when all streams have passed its last use. That may wait for the device, as making
// does, so neither belongs where another rank may be waiting for what this stream does next.

struct FreeDevice {
  void operator()(std::byte* memory) const noexcept;
};
struct FreePinned {
  void operator()(std::byte* memory) const noexcept;
};
using DeviceMemory = std::unique_ptr<std::byte[], FreeDevice>;
/// Host memory that devices copy from and to without a detour.
using PinnedMemory = std::unique_ptr<std::byte[], FreePinned>;

/// Aligned to 256 bytes.
DeviceMemory allocate_device(std::size_t bytes);
PinnedMemory allocate_pinned(std::size_t bytes);

/// Between any two places, on the stream. From or to host memory that is not pinned it may wait.
void copy_on(Stream stream, void* to, const void* from, std::size_t bytes);
/// Bytes of device memory.
void fill_on(Stream stream, void* to, std::byte value, std::size_t bytes);

struct DestroyStream {
  void operator()(::CUstream_st* stream) const noexcept;
};
struct DestroyEvent {
  void operator()(::CUevent_st* event) const noexcept;
};

/// A stream that does not wait for the default one.
class OwnStream {
 public:
  OwnStream();

  [[nodiscard]] Stream get() const noexcept { return stream_.get(); }
  /// Until all that was put on it is done. Throws what went wrong meanwhile.
  void wait() const;

 private:
  std::unique_ptr<::CUstream_st, DestroyStream> stream_;
};

/// A point in a stream. A thread that waits for it sleeps.
class Event {
 public:
  Event();

  void record(Stream stream) const;
  /// What is put on the stream from now on waits until this is reached. It may be another device's.
  void hold(Stream stream) const;
  [[nodiscard]] bool reached() const;
  void wait() const;
  [[nodiscard]] ::CUevent_st* get() const noexcept { return event_.get(); }

 protected:
  explicit Event(unsigned flags);

 private:
  std::unique_ptr<::CUevent_st, DestroyEvent> event_;
};

/// One that knows when it was reached, for benchmarks. Waiting for it keeps a core busy.
class TimedEvent : public Event {
 public:
  TimedEvent();

  /// Both were reached.
  [[nodiscard]] double seconds_since(const TimedEvent& earlier) const;
};

/// Tells whether kernels met a value that was not finite: a word on the device that they set and never clear,
/// and its copy on the host.
class NonFiniteFlag {
 public:
  NonFiniteFlag();

  [[nodiscard]] std::uint32_t* word() const noexcept {
    return reinterpret_cast<std::uint32_t*>(device_.get());
  }
  void clear_on(Stream stream) const { fill_on(stream, word(), std::byte{0}, sizeof *word()); }
  void fetch_on(Stream stream) const { copy_on(stream, host_.get(), word(), sizeof *word()); }
  /// Raises it where one of `count` other words is raised, and clears those: they lie at `base` plus each of
  /// `offsets`, in bytes. Both are memory of the current device, one kernel goes onto the stream.
  void gather_on(Stream stream, std::byte* base, const std::uint64_t* offsets, std::size_t count) const;
  /// What was fetched; the stream has passed that point.
  [[nodiscard]] bool raised() const noexcept {
    std::uint32_t word = 0;
    std::memcpy(&word, host_.get(), sizeof word);
    return word != 0;
  }

 private:
  DeviceMemory device_;
  PinnedMemory host_;
};

}  // namespace gradwire::compress
