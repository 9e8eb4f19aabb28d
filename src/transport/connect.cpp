#include <fmt/format.h>

#include <algorithm>

#include "base/limits.hpp"
#include "transport/inproc/inproc_transport.hpp"
#include "transport/mesh_endpoint.hpp"
#include "transport/mpi/mpi_transport.hpp"
#include "transport/socket_mesh.hpp"
#include "transport/transport.hpp"
#include "transport/ucx/ucx_transport.hpp"

namespace gradwire::transport {
namespace {

[[noreturn]] void refuse(const std::string& what, std::string_view advice) {
  throw Error(ErrorCode::invalid_argument, what, advice);
}

}  // namespace

std::vector<std::string> available_transports() {
  std::vector<std::string> names(kTransports.begin(), kTransports.end());
  if (!has_mpi()) std::erase(names, "mpi");
  if (!has_ucx()) std::erase(names, "ucx");
  return names;
}

void check(const EndpointOptions& options) {
  if (options.world_size < 1 || options.world_size > base::kMaxRanks) {
    refuse(fmt::format("a world of {} ranks", options.world_size),
           fmt::format("use 1 to {} ranks", base::kMaxRanks));
  }
  if (options.rank < 0 || options.rank >= options.world_size) {
    refuse(fmt::format("rank {} in a world of {}", options.rank, options.world_size),
           "number the ranks from 0, all with the same world size");
  }
  if (options.job.size() > base::kMaxJobBytes) {
    refuse(fmt::format("a job name of {} bytes", options.job.size()),
           fmt::format("choose one of at most {}", base::kMaxJobBytes));
  }
  const auto known = available_transports();
  if (options.kind != "auto" && std::ranges::find(kTransports, options.kind) == kTransports.end()) {
    refuse(fmt::format("the unknown transport '{}'", options.kind),
           fmt::format("use one of {}, or auto", fmt::join(known, ", ")));
  }
  if (options.kind == "mpi") (void)mpi_world();  // or this build has none
  if (options.connections_per_peer < 1 || options.connections_per_peer > base::kMaxConnections) {
    refuse(fmt::format("{} connections per peer", options.connections_per_peer),
           fmt::format("use 1 to {}", base::kMaxConnections));
  }
  const double rate = options.link_rate;
  if (rate != 0 && !(rate >= kMinLinkRate && rate <= kMaxLinkRate)) {
    refuse(fmt::format("a link rate of {:g} bytes a second", rate),
           "choose one from 1 kbit/s to 10 Tbit/s, or 0 for none");
  }
  if (options.link_rate > 0 && options.kind != "auto" && options.kind != "tcp") {
    refuse(fmt::format("a link rate together with {}, which has no link to slow down", options.kind),
           "use tcp or auto with it, or leave it out");
  }
}

std::unique_ptr<Endpoint> connect(const EndpointOptions& options, Store& store) {
  check(options);
  if (options.world_size == 1) {
    return std::make_unique<MeshEndpoint>(0, std::vector<std::unique_ptr<PeerLink>>(1),
                                          std::make_shared<const Doorbell>(), Patience::sleep);
  }
  if (options.kind == "inproc") return connect_inproc(options, store);
  if (options.kind == "ucx") return connect_ucx(options, store);
  return connect_sockets(options, store);
}

}  // namespace gradwire::transport
