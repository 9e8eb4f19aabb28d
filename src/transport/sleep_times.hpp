#pragma once

#include <chrono>

/// What everybody has to know who sleeps by a Sleeper.
namespace gradwire::transport {

/// Timers are that late on virtual machines whose cores sleep. An emulated link's bytes wait for their time
/// by polling from then on, without yielding: among busy processes that would cost milliseconds.
inline constexpr std::chrono::microseconds kTimerLateness{40};
/// Nothing wakes who waits for a peer's kernel to acknowledge bytes.
inline constexpr std::chrono::milliseconds kFlushStep{1};

}  // namespace gradwire::transport
