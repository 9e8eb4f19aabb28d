#pragma once

#include <string>
#include <vector>

#include "transport/transport.hpp"

namespace gradwire::transport {

/// "gradwire/<job>/<communicator>/<name>".
[[nodiscard]] std::string store_key(const EndpointOptions& options, const std::string& name);

/// What a rank that gives up leaves for the others, and what they throw then. Whatever the value, reading it
/// gives an error.
[[nodiscard]] std::string write_failure(const EndpointOptions& options, const Error& error);
[[nodiscard]] Error read_failure(const std::string& value);

/// What is left until `deadline`, not negative.
[[nodiscard]] std::chrono::milliseconds time_left(Clock::time_point deadline);

/// Error(timeout) that names the missing ranks: "ranks 2, 3 of 4 did not appear within 300 s".
[[nodiscard]] Error missing_ranks(const EndpointOptions& options, const std::vector<int>& ranks);

/// The ranks but this one whose key `<prefix><rank>` nobody has set.
[[nodiscard]] std::vector<int> ranks_without_key(const EndpointOptions& options, Store& store,
                                                 const std::string& prefix);

}  // namespace gradwire::transport
