#include "rendezvous/choose_store.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "base/fnv1a.hpp"
#include "gradwire/error.hpp"
#include "rendezvous/store_url.hpp"

namespace gradwire::rendezvous {
namespace {

constexpr std::uint16_t kPorts = 16;

[[noreturn]] void refuse_list(const std::string& list) {
  throw Error(
      ErrorCode::invalid_argument,
      fmt::format(
          "SLURM_STEP_NODELIST, or SLURM_JOB_NODELIST without it, is '{}', which is not a Slurm node list",
          list),
      "set GRADWIRE_STORE=tcp://host:port, host being where rank 0 runs");
}

/// The 16 ports after `port`, or the last 16 that there are.
StoreUrl after_port(const std::string& host, int port, const std::string& job) {
  StoreUrl url;
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  url.place = bracketed ? host.substr(1, host.size() - 2) : host;
  url.port = static_cast<std::uint16_t>(std::min(port + 1, 65536 - kPorts));
  url.ports = kPorts;
  url.job = job;
  return url;
}

/// Below the range from which Linux hands out ports to clients, in groups of 16.
int port_of_slurm_job(std::uint64_t job) {
  constexpr int kFirst = 10'000;
  constexpr std::uint64_t kGroups = 1400;
  return kFirst + static_cast<int>(job % kGroups) * kPorts - 1;
}

/// A name for an abstract socket: the job's own, or a number that follows from it where that is too long.
std::string socket_name(const std::string& job) {
  constexpr std::size_t kLongest = 64;
  std::string name = job;
  if (name.size() > kLongest) {
    name = fmt::format("{}~{:016x}", job.substr(0, kLongest - 17), base::fnv1a(job));
  }
  return fmt::format("gradwire-{}-{}", geteuid(), name);
}

}  // namespace

std::string first_node(const std::string& list) {
  constexpr std::string_view kNever = " \t\n\"'()/";
  if (list.find_first_of(kNever) != std::string::npos) refuse_list(list);
  std::string node;
  std::size_t i = 0;
  while (i < list.size() && list[i] != ',') {
    if (list[i] != '[') {
      if (list[i] == ']') refuse_list(list);
      node += list[i++];
      continue;
    }
    const std::size_t close = list.find(']', i);
    if (close == std::string::npos) refuse_list(list);
    const std::string_view group = std::string_view(list).substr(i + 1, close - i - 1);
    const std::string_view first = group.substr(0, group.find_first_of(",-"));
    if (first.empty() || first.find_first_not_of("0123456789") != std::string_view::npos) refuse_list(list);
    node += first;
    i = close + 1;
  }
  if (node.empty()) refuse_list(list);
  return node;
}

std::string choose_store_url(const base::Environment& environment, bool mpi) {
  if (environment.world_size == 1) return {};
  if (!environment.store_url.empty()) {
    StoreUrl url = parse_store_url(environment.store_url);
    if (url.job.empty()) url.job = environment.job;
    return url.text();
  }
  if (!environment.master_address.empty()) {
    return after_port(environment.master_address, environment.master_port, environment.job).text();
  }
  if (environment.slurm_job) {
    return after_port(first_node(environment.slurm_nodes), port_of_slurm_job(*environment.slurm_job),
                      environment.job)
        .text();
  }
  StoreUrl url;
  url.job = environment.job;
  if (environment.local_size && *environment.local_size < environment.world_size) {
    if (mpi) {
      url.scheme = StoreUrl::Scheme::mpi;
      return url.text();
    }
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("{} ranks are on several hosts, {} of them here, and nothing says where they meet",
                    environment.world_size, *environment.local_size),
        "set GRADWIRE_STORE=tcp://host:port for every rank, host being where rank 0 runs");
  }
  url.scheme = StoreUrl::Scheme::unix_socket;
  url.place = socket_name(environment.job);
  return url.text();
}

}  // namespace gradwire::rendezvous
