#pragma once

#include <chrono>
#include <cstddef>
#include <string_view>

namespace gradwire::rendezvous {

using Clock = std::chrono::steady_clock;

/// On a non-blocking socket; false when the connection broke or the deadline came first.
bool send_all(int fd, std::string_view bytes, Clock::time_point deadline);
bool receive_all(int fd, char* out, std::size_t size, Clock::time_point deadline);

}  // namespace gradwire::rendezvous
