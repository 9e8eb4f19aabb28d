#pragma once

#include <cstdint>
#include <string>

#include "base/unique_fd.hpp"

namespace gradwire::transport {

/// Equal for two processes exactly when they can reach each other by shared memory: boot id and network
/// namespace.
[[nodiscard]] std::string host_identity();

/// Equal for two callers exactly when they are threads of one process.
[[nodiscard]] std::string process_identity();

/// Becomes readable when the process of that identity ends, also while nobody has waited for it yet. None for
/// this process, and for one that cannot be watched from here.
[[nodiscard]] base::UniqueFd watch_process(const std::string& identity);

/// Unlikely to come twice. Throws Error(system).
[[nodiscard]] std::uint64_t random_token();

}  // namespace gradwire::transport
