#include "transport/socket_mesh.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <utility>

#include "transport/callers.hpp"
#include "transport/dialer.hpp"
#include "transport/host_identity.hpp"
#include "transport/meetings.hpp"
#include "transport/mesh_directory.hpp"
#include "transport/mesh_endpoint.hpp"
#include "transport/mpi/mpi_transport.hpp"
#include "transport/rendezvous_keys.hpp"

namespace gradwire::transport {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kCrowdedPause{10};
/// Nothing else wakes who waits for hellos over MPI.
constexpr milliseconds kMpiPause{1};

AddressRecord new_record(const EndpointOptions& options) {
  AddressRecord record;
  record.world_size = static_cast<std::uint32_t>(options.world_size);
  record.connections = static_cast<std::uint16_t>(options.connections_per_peer);
  record.token = random_token();
  record.host = host_identity();
  record.group = options.host_id.empty() ? record.host : options.host_id;
  // A slowed link makes a rank a host of its own, and all have to know it.
  if (options.link_rate > 0) record.group = fmt::format("behind link {:016x}", record.token);
  return record;
}

/// Connects one rank with all others. Each listens, publishes where, dials the lower ranks and is dialed by
/// the higher; those that MPI connects say hello to each other there.
class Mesher {
 public:
  Mesher(const EndpointOptions& options, Store& store)
      : options_(options),
        deadline_(Clock::now() + options.timeout),
        bell_(std::make_shared<const Doorbell>()),
        record_(new_record(options)),
        callers_(options, record_),
        store_(store),
        directory_(options, store, deadline_),
        meetings_(options, directory_, bell_) {}

  std::unique_ptr<Endpoint> run() {
    directory_.publish(record_);
    directory_.gather();
    meet_by_mpi();
    Dialer dialer(options_, directory_, meetings_, greetings_, *bell_, callers_.scope());
    for (int peer = 0; peer < options_.rank; ++peer) {
      if (!is_by_mpi(peer)) dialer.dial(peer, deadline_);
    }
    while (!missing().empty()) greet();
    return finish();
  }

 private:
  void meet_by_mpi();
  [[nodiscard]] bool is_by_mpi(int peer) const noexcept {
    return wants_mpi(options_) &&
           (options_.kind == "mpi" || directory_.of(peer).group != directory_.own().group);
  }
  [[nodiscard]] std::vector<int> missing() const;
  void greet();
  [[nodiscard]] Error unfinished() const;
  std::unique_ptr<Endpoint> finish();

  const EndpointOptions& options_;
  Clock::time_point deadline_;
  Clock::time_point next_failed_check_ = Clock::now() + MeshDirectory::kFailedInterval;
  std::shared_ptr<const Doorbell> bell_;
  AddressRecord record_;
  Callers callers_;
  Store& store_;
  MeshDirectory directory_;
  Meetings meetings_;
  std::vector<Greeting> greetings_;
  std::unique_ptr<MpiMeetings> mpi_meetings_;  ///< null where MPI connects nobody
};

void Mesher::meet_by_mpi() {
  std::vector<int> peers;
  for (int peer = 0; peer < options_.world_size; ++peer) {
    if (peer == options_.rank || !is_by_mpi(peer)) continue;
    peers.push_back(peer);
    meetings_.with(peer).missing = 0;
  }
  // Where there are two hosts, every rank has a peer on another one: MPI is for all ranks, or for none.
  if (peers.empty()) return;
  const auto group = options_.mpi ? options_.mpi : mpi_world();
  mpi_meetings_ = group->meet(options_, store_, directory_, peers, deadline_);
}

std::vector<int> Mesher::missing() const {
  std::vector<int> ranks = meetings_.missing();
  if (!mpi_meetings_) return ranks;
  const auto others = mpi_meetings_->missing();
  ranks.insert(ranks.end(), others.begin(), others.end());
  std::ranges::sort(ranks);
  return ranks;
}

void Mesher::greet() {
  std::vector<pollfd> wanted{{callers_.unix_door(), POLLIN, 0}, {callers_.tcp_door(), POLLIN, 0}};
  for (const auto& greeting : greetings_) wanted.push_back({greeting.socket.get(), POLLIN, 0});
  if (mpi_meetings_) {
    mpi_meetings_->progress();
    if (missing().empty()) return;  // nothing would end the sleep
  }
  auto most = callers_.is_crowded() ? kCrowdedPause : MeshDirectory::kFailedInterval;
  if (mpi_meetings_ && !mpi_meetings_->missing().empty()) most = kMpiPause;
  callers_.reopen();
  const int ready =
      ::poll(wanted.data(), wanted.size(), static_cast<int>(std::min(time_left(deadline_), most).count()));
  const bool is_late = Clock::now() >= next_failed_check_;
  std::vector<Greeting> rest;
  for (std::size_t i = 0; i < greetings_.size(); ++i) {
    const bool done = ready > 0 && wanted[i + 2].revents != 0 && meetings_.take(greetings_[i]);
    if (!done) rest.push_back(std::move(greetings_[i]));
  }
  greetings_ = std::move(rest);
  if (is_late || (ready <= 0 && most > kMpiPause)) {
    next_failed_check_ = Clock::now() + MeshDirectory::kFailedInterval;
    directory_.throw_if_others_failed();
    if (Clock::now() >= deadline_ && !missing().empty()) throw unfinished();
    callers_.drop_silent(greetings_, meetings_);
  }
  if (ready > 0 && wanted[0].revents != 0) callers_.accept(Door::local, greetings_, meetings_);
  if (ready > 0 && wanted[1].revents != 0) callers_.accept(Door::tcp, greetings_, meetings_);
}

Error Mesher::unfinished() const {
  const std::vector<int> ranks = missing();
  return {ErrorCode::timeout,
          fmt::format("no connection with {} {} of {} within {:g} s{}", ranks.size() == 1 ? "rank" : "ranks",
                      fmt::join(ranks, ", "), options_.world_size,
                      std::chrono::duration<double>(options_.timeout).count(), meetings_.strangers()),
          "see their messages, and whether a firewall is between the hosts",
          ranks.size() == 1 ? std::optional(ranks.front()) : std::nullopt};
}

std::unique_ptr<Endpoint> Mesher::finish() {
  greetings_.clear();  // strangers: what is left to be opened may need their descriptors
  const auto rate = options_.link_rate > 0 ? std::make_shared<LinkRate>(options_.link_rate) : nullptr;
  std::vector<std::unique_ptr<PeerLink>> links(static_cast<std::size_t>(options_.world_size));
  int ranks_here = 0;
  for (int peer = 0; peer < options_.world_size; ++peer) {
    ranks_here += directory_.is_on_this_host(peer) ? 1 : 0;
    if (peer == options_.rank) continue;
    if (is_by_mpi(peer)) {
      links[static_cast<std::size_t>(peer)] = mpi_meetings_->link(peer);
      continue;
    }
    links[static_cast<std::size_t>(peer)] = make_link(
        std::move(meetings_.with(peer)), {options_.rank, peer, options_.world_size, options_.communicator},
        options_.link_rate, rate, options_.check_payload);
  }
  return std::make_unique<MeshEndpoint>(options_.rank, std::move(links), bell_,
                                        rate ? Patience::sleep : patience_for(ranks_here),
                                        directory_.hosts());
}

}  // namespace

std::unique_ptr<Endpoint> connect_sockets(const EndpointOptions& options, Store& store) {
  try {
    return Mesher(options, store).run();
  } catch (const Error& error) {
    announce_failure(options, store, error);  // the others need not wait for a rank that will not come
    throw;
  }
}

}  // namespace gradwire::transport
