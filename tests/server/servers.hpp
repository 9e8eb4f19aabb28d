#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "gradwire/parameter_server.hpp"

namespace gradwire {

/// The servers of a job in this process.
struct Servers {
  explicit Servers(int count, const std::string& transport = "auto") {
    for (int i = 0; i < count; ++i) {
      ParameterServerOptions options;
      options.job = "servers";
      options.index = i;
      options.servers = count;
      options.transport = transport;
      // No beat comes into what tests count.
      options.lease = std::chrono::hours(1);
      servers.emplace_back(options);
    }
  }
  [[nodiscard]] ParameterServerClientOptions client(int worker, int workers) const {
    ParameterServerClientOptions options;
    for (const auto& server : servers) options.servers.push_back(server.address());
    options.job = "servers";
    options.worker = worker;
    options.workers = workers;
    options.timeout = std::chrono::seconds(20);
    return options;
  }

  std::vector<ParameterServer> servers;
};

}  // namespace gradwire
