#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "cli/bench_server_case.hpp"
#include "gradwire/communicator.hpp"

namespace gradwire::cli {

/// How many keys of a size there are.
[[nodiscard]] std::size_t key_count(const BenchServerOptions& options, std::uint64_t key_bytes);

/// Runs every transport x codec x size x op on all ranks of a job, which are the workers. On rank 0 `report`
/// hears each result at once.
void sweep_servers(const BenchServerOptions& options, CommunicatorOptions job,
                   const std::function<void(const BenchServerResult&)>& report);

}  // namespace gradwire::cli
