#include "transport/service/service_doors.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <vector>

#include "base/host_address.hpp"
#include "base/stream_socket.hpp"
#include "base/system_error.hpp"
#include "transport/service/service_protocol.hpp"

namespace gradwire::transport {
namespace {

std::vector<base::SocketAddress> places_of(const base::HostPort& place) {
  std::string why;
  auto addresses = base::resolve(place.host, why);
  if (addresses.empty()) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("the host '{}' to listen at cannot be resolved: {}", place.host, why),
                "name an address of this host");
  }
  // By such a name others look for the host itself.
  if (base::misleading_name(place.host, addresses)) addresses = base::every_address();
  for (auto& address : addresses) address.set_port(place.port);
  return addresses;
}

[[noreturn]] void refuse(const base::SocketAddress& address, int error) {
  if (error == EADDRNOTAVAIL) {
    throw Error(ErrorCode::invalid_argument, fmt::format("the address {} is not this host's", address.host()),
                "name an address of this host");
  }
  errno = error;
  const char* advice = "raise the limit on open files (ulimit -n)";
  if (error == EADDRINUSE) advice = "choose another port, or end what listens there";
  if (error == EACCES) advice = "choose a port from 1024 on";
  throw base::system_error(fmt::format("cannot listen at {}", address.text()), advice);
}

}  // namespace

ServiceDoors open_doors(const ServiceOptions& options, const base::HostPort& place) {
  ServiceDoors doors;
  int error = 0;
  for (const auto& address : places_of(place)) {
    doors.address = address;
    doors.tcp = base::bind_at(address, error);
    if (doors.tcp) break;
  }
  if (!doors.tcp) refuse(doors.address, error);
  ::getsockname(doors.tcp.get(), doors.address.get(), &doors.address.size);
  // The Unix socket first: who finds the other knows then whether there is this one.
  if (wants_shm(options)) {
    doors.local = base::listen_at(base::abstract_address(unix_name_of(doors.address)), error);
    if (!doors.local) refuse(doors.address, error);
  }
  if (wants_tcp(options) && !base::listen_on(doors.tcp, error)) refuse(doors.address, error);
  return doors;
}

std::string address_for_callers(const base::SocketAddress& address) {
  if (!address.is_wildcard()) return address.text();
  const auto outward = base::outward_address();
  return outward.value_or(base::numeric_address("127.0.0.1", 0)).with_port(address.port()).text();
}

}  // namespace gradwire::transport
