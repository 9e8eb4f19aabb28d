#pragma once

#include <cstddef>
#include <functional>

#include "compress/cuda/device.hpp"

// CUDA devices as far as device.hpp shows them, on the host: their memory is the host's, a stream is a thread
// that runs what was put on it in order. For tests where there is no GPU.

namespace gradwire::compress::emulated {

inline constexpr int kDevices = 2;

/// Puts work on a stream, which runs it some time after this has returned.
void put_on(Stream stream, std::function<void()> work);

/// What a kernel may touch: throws Error(invalid_argument) unless the bytes are of one allocation on the
/// current device. Null is not looked at.
void require_kernel_memory(const void* pointer, std::size_t bytes);

/// While one of these lives, no stream begins anything. Waiting for a stream or an event meanwhile would wait
/// for ever.
class StreamsStandStill {
 public:
  StreamsStandStill();
  ~StreamsStandStill();
  StreamsStandStill(const StreamsStandStill&) = delete;
  StreamsStandStill& operator=(const StreamsStandStill&) = delete;
};

/// While one of these lives, an event is reached just after it was first asked, which says that it was not.
class EventsAreJustMissed {
 public:
  EventsAreJustMissed();
  ~EventsAreJustMissed();
  EventsAreJustMissed(const EventsAreJustMissed&) = delete;
  EventsAreJustMissed& operator=(const EventsAreJustMissed&) = delete;
};

}  // namespace gradwire::compress::emulated
