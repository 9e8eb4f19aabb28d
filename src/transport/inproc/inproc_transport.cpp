#include "transport/inproc/inproc_transport.hpp"

#include <fmt/format.h>

#include <charconv>
#include <memory>

#include "transport/host_identity.hpp"
#include "transport/inproc/room.hpp"
#include "transport/mesh_endpoint.hpp"
#include "transport/rendezvous_keys.hpp"

namespace gradwire::transport {
namespace {

constexpr const char* kJoinPrefix = "inproc/join/";
constexpr const char* kRefused = "refused";

Error not_one_process(const EndpointOptions& options) {
  return {ErrorCode::invalid_argument,
          fmt::format("rank {} of job '{}' asks for inproc, but the ranks are not threads of one process",
                      options.rank, options.job),
          "use auto between processes"};
}

// The room's name goes through the store, but only to a rank that asked for it under a random token of its
// own, so that none takes the name of an earlier communicator's room.

std::string join_request(const EndpointOptions& options, std::uint64_t token) {
  return fmt::format("{:016x} {} {}", token, options.world_size, process_identity());
}

std::string room_name(int rank, std::uint64_t token) {
  return fmt::format("inproc/room/{}/{:016x}", rank, token);
}

std::uint64_t token_of(const std::string& request) noexcept {
  constexpr std::size_t kTokenDigits = 16;
  std::uint64_t token = 0;
  std::from_chars(request.data(), request.data() + std::min(kTokenDigits, request.size()), token, 16);
  return token;
}

std::shared_ptr<Room> host_room(const EndpointOptions& options, Store& store, Clock::time_point deadline) {
  std::vector<std::uint64_t> tokens;
  bool all_here = true;
  for (int rank = 1; rank < options.world_size; ++rank) {
    const auto request =
        store.get(store_key(options, kJoinPrefix + std::to_string(rank)), time_left(deadline));
    if (!request) throw missing_ranks(options, ranks_without_key(options, store, kJoinPrefix));
    tokens.push_back(token_of(*request));
    all_here = all_here && *request == join_request(options, tokens.back());
  }
  // Nobody is let in before everybody is there, so that either all ranks fail or none.
  auto room = Room::open(options.world_size);
  for (int rank = 1; rank < options.world_size; ++rank) {
    const std::string key = store_key(options, room_name(rank, tokens[static_cast<std::size_t>(rank - 1)]));
    store.set(key, all_here ? room->name() : kRefused);
  }
  if (!all_here) throw not_one_process(options);
  return room;
}

std::shared_ptr<Room> join_room(const EndpointOptions& options, Store& store, Clock::time_point deadline) {
  const std::uint64_t token = random_token();
  store.set(store_key(options, kJoinPrefix + std::to_string(options.rank)), join_request(options, token));
  const auto answer = store.get(store_key(options, room_name(options.rank, token)), time_left(deadline));
  if (!answer) {
    auto missing = ranks_without_key(options, store, kJoinPrefix);
    // Rank 0 hosts and does not ask to join: only its silence shows that it is missing.
    if (missing.size() > 1) missing.erase(missing.begin());
    throw missing_ranks(options, missing);
  }
  if (*answer == kRefused) throw not_one_process(options);
  auto room = Room::find(*answer);
  if (!room || room->size() != options.world_size) {
    throw Error(ErrorCode::corrupt_frame,
                fmt::format("the store names no room of this process for rank {} to meet the others in",
                            options.rank),
                "see whether rank 0 gave up, and give this job a store of its own", 0);
  }
  return room;
}

}  // namespace

std::unique_ptr<Endpoint> connect_inproc(const EndpointOptions& options, Store& store) {
  const auto deadline = Clock::now() + options.timeout;
  const auto room =
      options.rank == 0 ? host_room(options, store, deadline) : join_room(options, store, deadline);
  if (const auto missing = room->enter(options.rank, deadline); !missing.empty()) {
    throw missing_ranks(options, missing);
  }
  std::vector<std::unique_ptr<PeerLink>> links(static_cast<std::size_t>(options.world_size));
  for (int peer = 0; peer < options.world_size; ++peer) {
    if (peer == options.rank) continue;
    RingParts parts;
    parts.rank = options.rank;
    parts.peer = peer;
    parts.world_size = options.world_size;
    parts.memory = room->pair(options.rank, peer);
    parts.peer_bell = room->bell(peer);
    parts.check_payload = options.check_payload;
    parts.kind = "inproc";
    links[static_cast<std::size_t>(peer)] = std::make_unique<RingLink>(std::move(parts));
  }
  return std::make_unique<MeshEndpoint>(options.rank, std::move(links), room->bell(options.rank),
                                        patience_for(options.world_size),
                                        std::vector<int>(static_cast<std::size_t>(options.world_size), 0));
}

}  // namespace gradwire::transport
