#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/host_port.hpp"
#include "base/socket_address.hpp"
#include "transport/meeting.hpp"
#include "transport/service.hpp"
#include "wire/hello.hpp"

/// What a service and its callers have to do alike.
namespace gradwire::transport {

inline constexpr int kCallerRank = 0;
inline constexpr int kServiceRank = 1;
inline constexpr std::uint16_t kServiceTcpConnections = 1 + kControlConnections;

/// Where the service is. Throws Error(invalid_argument) for any option that is wrong.
[[nodiscard]] base::HostPort check_service_options(const ServiceOptions& options);
[[nodiscard]] bool wants_shm(const ServiceOptions& options) noexcept;
[[nodiscard]] bool wants_tcp(const ServiceOptions& options) noexcept;

/// What `rank` of the two says on a connection; `token` is the caller's.
[[nodiscard]] wire::Hello service_hello(const ServiceOptions& options, int rank, bool shm,
                                        std::uint16_t connection, std::uint64_t token);

/// The link of `rank` of the two. Throws Error(system).
[[nodiscard]] std::unique_ptr<PeerLink> make_service_link(Meeting meeting, const ServiceOptions& options,
                                                          int rank, std::shared_ptr<LinkRate> rate);

/// The end by which the service gives a caller up. Only the two of them mean something to it, whomever else
/// an error may name.
[[nodiscard]] LinkEnd abort_for(ErrorCode code, int to_blame);

/// Whether an address is one of this host's own. Throws nothing; in doubt it is not.
[[nodiscard]] bool is_of_this_host(const base::SocketAddress& address) noexcept;

/// The abstract Unix socket beside a service's port.
[[nodiscard]] std::string unix_name_of(const base::SocketAddress& address);
/// All that a service might have which is called at this address: its own, then that of one at all addresses.
[[nodiscard]] std::vector<std::string> unix_names_for(const base::SocketAddress& address);

}  // namespace gradwire::transport
