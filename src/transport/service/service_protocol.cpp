#include "transport/service/service_protocol.hpp"

#include <fmt/format.h>

#include <utility>

#include "base/stream_socket.hpp"

namespace gradwire::transport {
namespace {

std::string unix_name_at_all_addresses(std::uint16_t port) {
  return fmt::format("gradwire-service-*:{}", port);
}

[[noreturn]] void refuse(const std::string& what, const char* advice) {
  throw Error(ErrorCode::invalid_argument, what, advice);
}

}  // namespace

base::HostPort check_service_options(const ServiceOptions& options) {
  EndpointOptions alike;
  alike.job = options.job;
  alike.kind = options.kind;
  alike.link_rate = options.link_rate;
  check(alike);
  if (options.kind == "inproc") refuse("a service within one process", "use auto, shm or tcp");
  if (options.kind == "mpi") refuse("a service over MPI, where nobody comes or goes", "use auto, shm or tcp");
  if (options.kind == "ucx") refuse("a service over ucx", "use auto, shm or tcp");
  std::string why;
  auto place = base::parse_host_port(options.address, why);
  if (!place) {
    refuse(fmt::format("the service's address '{}' {}", options.address, why),
           "write it as host:port or [::1]:port");
  }
  return *std::move(place);
}

bool wants_shm(const ServiceOptions& options) noexcept {
  return options.kind == "shm" || (options.kind == "auto" && options.link_rate <= 0);
}

bool wants_tcp(const ServiceOptions& options) noexcept { return options.kind != "shm"; }

wire::Hello service_hello(const ServiceOptions& options, int rank, bool shm, std::uint16_t connection,
                          std::uint64_t token) {
  wire::Hello hello;
  hello.job = options.job;
  hello.communicator = wire::kServiceCommunicator;
  hello.world_size = 2;
  hello.rank = static_cast<std::uint32_t>(rank);
  hello.peer = static_cast<std::uint32_t>(kCallerRank + kServiceRank - rank);
  hello.connection = connection;
  hello.connections = shm ? std::uint16_t{1} : kServiceTcpConnections;
  hello.token = token;
  hello.layout = shm ? PairMemory::layout() : 0;
  return hello;
}

std::unique_ptr<PeerLink> make_service_link(Meeting meeting, const ServiceOptions& options, int rank,
                                            std::shared_ptr<LinkRate> rate) {
  const LinkIdentity identity{rank, kCallerRank + kServiceRank - rank, 2, wire::kServiceCommunicator};
  return make_link(std::move(meeting), identity, options.link_rate, std::move(rate), options.check_payload);
}

LinkEnd abort_for(ErrorCode code, int to_blame) {
  LinkEnd end;
  end.kind = LinkEnd::Kind::abort;
  end.origin = to_blame;
  end.code = code;
  return end;
}

bool is_of_this_host(const base::SocketAddress& address) noexcept {
  int error = 0;
  return static_cast<bool>(base::bind_at(address.with_port(0), error));
}

std::string unix_name_of(const base::SocketAddress& address) {
  if (address.is_wildcard()) return unix_name_at_all_addresses(address.port());
  return fmt::format("gradwire-service-{}", address.text());
}

std::vector<std::string> unix_names_for(const base::SocketAddress& address) {
  return {unix_name_of(address), unix_name_at_all_addresses(address.port())};
}

}  // namespace gradwire::transport
