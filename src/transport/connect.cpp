#include <fmt/format.h>

#include "transport/inproc/inproc_transport.hpp"
#include "transport/mesh_endpoint.hpp"
#include "transport/socket_mesh.hpp"
#include "transport/transport.hpp"
#include "wire/hello.hpp"

namespace gradwire::transport {
namespace {

constexpr int kMaxRanks = 65536;
constexpr int kMaxConnections = 64;

[[noreturn]] void refuse(const std::string& what, const char* advice) {
  throw Error(ErrorCode::invalid_argument, what, advice);
}

void check(const EndpointOptions& options) {
  if (options.world_size < 1 || options.world_size > kMaxRanks) {
    refuse(fmt::format("a world of {} ranks", options.world_size), "use 1 to 65536 ranks");
  }
  if (options.rank < 0 || options.rank >= options.world_size) {
    refuse(fmt::format("rank {} in a world of {}", options.rank, options.world_size),
           "number the ranks from 0, all with the same world size");
  }
  if (options.job.size() > wire::kMaxJobBytes) {
    refuse(fmt::format("a job name of {} bytes", options.job.size()), "choose one of at most 255");
  }
  if (options.kind != "auto" && options.kind != "shm" && options.kind != "tcp" && options.kind != "inproc") {
    refuse(fmt::format("the unknown transport '{}'", options.kind), "use auto, shm, tcp or inproc");
  }
  if (options.connections_per_peer < 1 || options.connections_per_peer > kMaxConnections) {
    refuse(fmt::format("{} connections per peer", options.connections_per_peer), "use 1 to 64");
  }
  const double rate = options.link_rate;
  if (rate != 0 && !(rate >= kMinLinkRate && rate <= kMaxLinkRate)) {
    refuse(fmt::format("a link rate of {:g} bytes a second", rate),
           "choose one from 1 kbit/s to 10 Tbit/s, or 0 for none");
  }
  if (options.link_rate > 0 && (options.kind == "shm" || options.kind == "inproc")) {
    refuse(fmt::format("a link rate together with {}, which has no link to slow down", options.kind),
           "use tcp or auto with it, or leave it out");
  }
}

}  // namespace

std::unique_ptr<Endpoint> connect(const EndpointOptions& options, Store& store) {
  check(options);
  if (options.world_size == 1) {
    return std::make_unique<MeshEndpoint>(0, std::vector<std::unique_ptr<PeerLink>>(1),
                                          std::make_shared<const Doorbell>(), Patience::sleep);
  }
  if (options.kind == "inproc") return connect_inproc(options, store);
  return connect_sockets(options, store);
}

}  // namespace gradwire::transport
