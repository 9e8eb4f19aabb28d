#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "base/host_address.hpp"
#include "base/limits.hpp"
#include "gradwire/communicator.hpp"
#include "gradwire/error.hpp"
#include "rendezvous/serve_store.hpp"
#include "rendezvous/store_url.hpp"
#include "transport/host_identity.hpp"
#include "transport/mpi/mpi_transport.hpp"

// The store of a job: at a URL, or where rank 0 finds a place and has MPI tell the others.

namespace gradwire {
namespace {

bool is_told_by_mpi(const CommunicatorOptions& options) {
  if (options.store_url.empty()) return options.mpi != nullptr;
  return rendezvous::parse_store_url(options.store_url).scheme == rendezvous::StoreUrl::Scheme::mpi;
}

rendezvous::ServedStore serve(const CommunicatorOptions& options, bool is_one_host) {
  if (is_one_host) {
    const auto name = fmt::format("gradwire-{}-{:016x}", ::geteuid(), transport::random_token());
    return rendezvous::serve_store(name, options.job);
  }
  if (!options.interface.empty()) {
    return rendezvous::serve_store(base::local_address(options.interface), options.job);
  }
  const auto address = base::outward_address();
  if (!address) {
    throw Error(ErrorCode::system, "rank 0 has no address that leads to other hosts, to serve a store at",
                "name an interface that leads there with GRADWIRE_INTERFACE");
  }
  return rendezvous::serve_store(*address, options.job);
}

/// The others are told either where the store is or why there is none.
std::shared_ptr<Store> meet_by_mpi(const CommunicatorOptions& options) {
  constexpr char kServed = '+';
  constexpr char kFailed = '-';
  const auto group = options.mpi ? options.mpi : transport::mpi_world();
  const auto begin = transport::Clock::now();
  const auto deadline = begin + std::min(options.timeout, base::kLongestTimeout);
  group->open(deadline);
  if (group->rank() != options.rank || group->size() != options.world_size) {
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("rank {} of {} is process {} of {} to MPI", options.rank, options.world_size,
                    group->rank(), group->size()),
        "start the ranks with mpirun and leave their numbers to it, or name a store (GRADWIRE_STORE)");
  }
  const bool is_one_host = group->are_alike(transport::host_identity(), deadline);
  if (options.rank == 0) {
    try {
      const auto served = serve(options, is_one_host);
      (void)group->from_first(kServed + served.url, deadline);
      return served.store;
    } catch (const Error& error) {
      (void)group->from_first(
          kFailed + std::string(error.what()).substr(0, transport::MpiGroup::kMaxText - 1), deadline);
      throw;
    }
  }
  const std::string told = group->from_first({}, deadline);
  if (told.empty() || told.front() != kServed) {
    throw Error(ErrorCode::peer_lost, fmt::format("rank 0 serves no store ({})", told.substr(!told.empty())),
                "mend that and restart the job", 0);
  }
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - transport::Clock::now());
  return open_store(told.substr(1), options.rank, std::max(left, std::chrono::milliseconds(1)));
}

}  // namespace

std::shared_ptr<Store> open_store(const CommunicatorOptions& options) {
  if (options.store) return options.store;
  if (is_told_by_mpi(options)) {
    try {
      return meet_by_mpi(options);
    } catch (...) {
      transport::leave_mpi_unfinished();
      throw;
    }
  }
  return open_store(options.store_url, options.rank, options.timeout);
}

}  // namespace gradwire
