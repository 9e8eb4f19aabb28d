#pragma once

#include <cstdint>
#include <string>

namespace gradwire::transport {

/// Equal for two processes exactly when they can reach each other by shared memory: boot id and network
/// namespace.
[[nodiscard]] std::string host_identity();

/// Equal for two callers exactly when they are threads of one process.
[[nodiscard]] std::string process_identity();

/// Unlikely to come twice. Throws Error(system).
[[nodiscard]] std::uint64_t random_token();

}  // namespace gradwire::transport
