#include "runtime/join.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/limits.hpp"
#include "compress/codec.hpp"
#include "gradwire/error.hpp"
#include "rendezvous/address_towards_store.hpp"
#include "transport/mpi/mpi_transport.hpp"
#include "wire/hello.hpp"

namespace gradwire::runtime {
namespace {

transport::EndpointOptions endpoint_options(const CommunicatorOptions& options) {
  transport::EndpointOptions endpoint;
  endpoint.rank = options.rank;
  endpoint.world_size = options.world_size;
  endpoint.job = options.job;
  endpoint.communicator = options.id;
  endpoint.kind = options.transport;
  endpoint.mpi = options.mpi;
  endpoint.interface = options.interface;
  endpoint.connections_per_peer = options.connections_per_peer;
  endpoint.link_rate = options.link_rate.empty() ? 0 : transport::parse_rate(options.link_rate);
  endpoint.host_id = options.host_id;
  endpoint.check_payload = options.check_payload;
  endpoint.timeout = options.timeout;
  return endpoint;
}

/// What is not the transport's business.
void check_rest(const CommunicatorOptions& options) {
  if (!options.codec.empty()) (void)compress::make_codec(options.codec);
  if (options.id == wire::kServiceCommunicator) {
    throw Error(ErrorCode::invalid_argument, fmt::format("the communicator id {}", options.id),
                "choose another one: this one stands for services");
  }
  if (options.timeout.count() <= 0) {
    throw Error(ErrorCode::invalid_argument, "a timeout that is not positive",
                "pass a time greater than zero");
  }
}

}  // namespace

std::unique_ptr<transport::Endpoint> join(CommunicatorOptions& options) {
  options.timeout = std::min(options.timeout, base::kLongestTimeout);
  auto endpoint = endpoint_options(options);
  transport::check(endpoint);
  check_rest(options);
  if (options.world_size == 1) return nullptr;
  try {
    options.store = open_store(options);
    if (options.interface.empty()) {
      if (const auto address = rendezvous::address_towards_store(options.store_url)) {
        options.interface = address->scoped_host();
      }
    }
    endpoint.interface = options.interface;
    return transport::connect(endpoint, *options.store);
  } catch (...) {
    transport::leave_mpi_unfinished();
    throw;
  }
}

}  // namespace gradwire::runtime
