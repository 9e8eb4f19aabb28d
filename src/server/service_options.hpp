#pragma once

#include <string>
#include <utility>

#include "transport/service.hpp"

namespace gradwire::server {

/// What a server's or a client's options ask of the service between them. `address` is the server's.
template <typename Options>
transport::ServiceOptions service_options(const Options& options, std::string address) {
  transport::ServiceOptions service;
  service.address = std::move(address);
  service.job = options.job;
  service.kind = options.transport;
  service.link_rate = options.link_rate.empty() ? 0 : transport::parse_rate(options.link_rate);
  service.check_payload = options.check_payload;
  return service;
}

}  // namespace gradwire::server
