#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "gradwire/parameter_server.hpp"
#include "tests/support/temporary_folder.hpp"

// A job whose processes are killed.
namespace gradwire {

inline ParameterServerOptions server_options(const TemporaryFolder& folder, int index = 0, int servers = 1) {
  ParameterServerOptions options;
  options.job = "deaths";
  options.index = index;
  options.servers = servers;
  options.lease = std::chrono::seconds(2);
  options.snapshot_dir = (folder.path() / "snapshots").string();
  options.snapshot_every = 10;
  return options;
}

inline ParameterServerClientOptions worker_options(const std::vector<std::string>& servers, int worker,
                                                   int workers) {
  ParameterServerClientOptions options;
  options.servers = servers;
  options.job = "deaths";
  options.worker = worker;
  options.workers = workers;
  options.timeout = std::chrono::seconds(60);
  return options;
}

/// One step: every element goes down by the mean of what was pushed, which is 1.
inline void step(ParameterServerClient& client, std::vector<float>& value) {
  std::vector<float> ones(value.size(), 1.0F);
  Work pull = client.push_pull("key", ones, value);
  client.clock();
  pull.wait();
  client.flush();
}

}  // namespace gradwire
