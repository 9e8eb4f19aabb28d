#include <fmt/format.h>
#include <poll.h>
#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "transport/host_identity.hpp"
#include "transport/mesh_directory.hpp"
#include "transport/mesh_endpoint.hpp"
#include "transport/rendezvous_keys.hpp"
#include "transport/ucx/ucx_link.hpp"
#include "transport/ucx/ucx_transport.hpp"

namespace gradwire::transport {
namespace {

using std::chrono::milliseconds;

/// A record that does not fit may be one of an earlier run, in whose place the right one will soon be.
constexpr std::chrono::seconds kMisfitPatience{2};
/// Between two looks at the record of a peer that speaks under another one.
constexpr milliseconds kLookInterval{50};
/// Between two looks whether a peer is ready.
constexpr milliseconds kReadyInterval{5};
constexpr const char* kReadyPrefix = "ucx/ready/";

AddressRecord new_record(const EndpointOptions& options) {
  AddressRecord record;
  record.world_size = static_cast<std::uint32_t>(options.world_size);
  record.connections = static_cast<std::uint16_t>(options.connections_per_peer);
  record.token = random_token();
  record.process = process_identity();
  record.host = host_identity();
  record.group = options.host_id.empty() ? record.host : options.host_id;
  return record;
}

/// Connects one rank with all others: each publishes its UCX address, opens a way to everybody else's, and
/// says hello there, until all have heard each other.
class UcxMesher {
 public:
  UcxMesher(const EndpointOptions& options, Store& store)
      : options_(options),
        store_(store),
        deadline_(Clock::now() + options.timeout),
        record_(new_record(options)),
        worker_(std::make_shared<UcxWorker>(options.world_size, record_.token)),
        directory_(options, store, deadline_),
        peers_(static_cast<std::size_t>(options.world_size)) {
    record_.ucx_version = worker_->library().version();
    record_.ucx_address = worker_->address();
  }

  std::unique_ptr<Endpoint> run();

 private:
  struct Peer {
    std::unique_ptr<UcxLink> link;
    Clock::time_point misfit_since = Clock::time_point::max();
  };

  void make_links();
  void wait_for_all();
  void greet(milliseconds longest);
  bool advance_all();
  void sleep_until(Clock::time_point time);
  void look_again();
  void open(int rank);
  [[nodiscard]] std::optional<Error> misfit(int rank) const;
  [[nodiscard]] std::vector<int> missing() const;
  [[nodiscard]] Error unfinished() const;
  std::unique_ptr<Endpoint> finish();
  [[nodiscard]] Peer& of(int rank) { return peers_[static_cast<std::size_t>(rank)]; }

  const EndpointOptions& options_;
  Store& store_;
  Clock::time_point deadline_;
  Clock::time_point next_look_ = Clock::now() + MeshDirectory::kFailedInterval;
  AddressRecord record_;
  std::shared_ptr<UcxWorker> worker_;
  MeshDirectory directory_;
  std::vector<Peer> peers_;  ///< by rank
};

std::unique_ptr<Endpoint> UcxMesher::run() {
  directory_.publish(record_);
  directory_.gather();
  make_links();
  while (!missing().empty()) greet(MeshDirectory::kFailedInterval);
  wait_for_all();
  return finish();
}

void UcxMesher::wait_for_all() {
  // A way is complete when both its ends have made progress for long enough: nobody leaves before all have.
  const auto key = [this](int rank) { return store_key(options_, kReadyPrefix + std::to_string(rank)); };
  store_.set(key(options_.rank), std::to_string(record_.token));
  for (int rank = 0; rank < options_.world_size; ++rank) {
    if (rank == options_.rank) continue;
    const std::string token = std::to_string(directory_.of(rank).token);
    while (store_.get(key(rank), milliseconds{0}) != token) {
      if (Clock::now() >= deadline_) throw missing_ranks(options_, {rank});
      greet(kReadyInterval);
    }
  }
}

void UcxMesher::make_links() {
  bool drives = true;
  for (int rank = 0; rank < options_.world_size; ++rank) {
    if (rank == options_.rank) continue;
    UcxParts parts;
    parts.rank = options_.rank;
    parts.peer = rank;
    parts.world_size = options_.world_size;
    parts.worker = worker_;
    // Within a host no network damages anything.
    parts.check_payload = options_.check_payload || !directory_.is_on_this_host(rank);
    parts.drives = std::exchange(drives, false);
    of(rank).link = std::make_unique<UcxLink>(std::move(parts));
    open(rank);
  }
}

void UcxMesher::greet(milliseconds longest) {
  const bool moved = advance_all();
  const auto now = Clock::now();
  if (now >= next_look_ || now >= deadline_) {
    next_look_ = now + MeshDirectory::kFailedInterval;
    look_again();
  }
  if (!moved) sleep_until(std::min({next_look_, deadline_, now + longest}));
}

bool UcxMesher::advance_all() {
  const auto now = Clock::now();
  bool moved = false;
  for (const Peer& peer : peers_) {
    if (!peer.link) continue;
    UcxLink& link = *peer.link;
    moved = link.advance(now) || moved;
    if (link.hears_another()) next_look_ = std::min(next_look_, now + kLookInterval);
    if (!link.peer_end().is_failure()) continue;
    // Who gave up says why before it goes.
    directory_.throw_if_others_failed();
    throw link.peer_end().to_error(link.peer());
  }
  return moved;
}

void UcxMesher::sleep_until(Clock::time_point time) {
  struct Source {
    UcxLink* link;
    std::size_t index;
  };
  std::vector<pollfd> wanted;
  std::vector<Source> sources;
  bool has_news = false;
  for (const Peer& peer : peers_) {
    if (!peer.link) continue;
    peer.link->announce_sleep();
    has_news = has_news || peer.link->has_news(Clock::now());
    const auto descriptors = peer.link->descriptors();
    for (std::size_t i = 0; i < descriptors.size(); ++i) {
      wanted.push_back({descriptors[i], POLLIN, 0});
      sources.push_back({peer.link.get(), i});
    }
  }
  const auto longest = has_news ? milliseconds{0} : time_left(time);
  if (::poll(wanted.data(), wanted.size(), static_cast<int>(longest.count())) <= 0) return;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i].revents != 0) sources[i].link->on_events(sources[i].index, EPOLLIN);
  }
}

void UcxMesher::look_again() {
  directory_.throw_if_others_failed();
  const auto left = missing();
  for (const int rank : left) {
    const bool is_new = directory_.look_again(rank);
    if (is_new || of(rank).link->failure() != UCS_OK) open(rank);
  }
  if (Clock::now() >= deadline_ && !left.empty()) throw unfinished();
}

void UcxMesher::open(int rank) {
  Peer& peer = of(rank);
  auto error = misfit(rank);
  if (!error) {
    const AddressRecord& record = directory_.of(rank);
    peer.link->open(record.token, record.ucx_address, watch_process(record.process));
    if (peer.link->failure() == UCS_OK) {
      peer.misfit_since = Clock::time_point::max();
      return;
    }
    error = worker_->library()
                .error(fmt::format("UCX finds no way from rank {} to rank {}", options_.rank, rank),
                       peer.link->failure())
                .with_peer(rank);
  }
  const auto now = Clock::now();
  peer.misfit_since = std::min(peer.misfit_since, now);
  if (now - peer.misfit_since >= kMisfitPatience || now >= deadline_) throw Error(*error);
}

std::optional<Error> UcxMesher::misfit(int rank) const {
  const AddressRecord& record = directory_.of(rank);
  if (record.ucx_address.empty()) {
    return Error(ErrorCode::invalid_argument,
                 fmt::format("rank {} does not use UCX, as rank {} does", rank, options_.rank),
                 "give all ranks the same transport", rank);
  }
  if (record.ucx_version == record_.ucx_version) return std::nullopt;
  return Error(ErrorCode::version_mismatch,
               fmt::format("rank {} has UCX {}, rank {} has {}", rank, record.ucx_version, options_.rank,
                           record_.ucx_version),
               "install the same UCX on all hosts", rank);
}

std::vector<int> UcxMesher::missing() const {
  std::vector<int> ranks;
  for (int rank = 0; rank < options_.world_size; ++rank) {
    const Peer& peer = peers_[static_cast<std::size_t>(rank)];
    if (peer.link && !peer.link->is_connected()) ranks.push_back(rank);
  }
  return ranks;
}

Error UcxMesher::unfinished() const {
  const std::vector<int> left = missing();
  return {ErrorCode::timeout,
          fmt::format("no connection by UCX with {} {} of {} within {:g} s",
                      left.size() == 1 ? "rank" : "ranks", fmt::join(left, ", "), options_.world_size,
                      std::chrono::duration<double>(options_.timeout).count()),
          "see their messages, what UCX_TLS and UCX_NET_DEVICES allow, and whether a firewall is between the "
          "hosts",
          left.size() == 1 ? std::optional(left.front()) : std::nullopt};
}

std::unique_ptr<Endpoint> UcxMesher::finish() {
  std::vector<std::unique_ptr<PeerLink>> links;
  int ranks_here = 0;
  for (int rank = 0; rank < options_.world_size; ++rank) {
    ranks_here += directory_.is_on_this_host(rank) ? 1 : 0;
    links.push_back(std::move(of(rank).link));
  }
  return std::make_unique<MeshEndpoint>(options_.rank, std::move(links), std::make_shared<const Doorbell>(),
                                        patience_for(ranks_here), directory_.hosts());
}

}  // namespace

bool has_ucx() noexcept { return true; }

std::string ucx_information() {
  try {
    return UcxLibrary::get().version();
  } catch (const Error& error) {
    return error.what();
  }
}

std::unique_ptr<Endpoint> connect_ucx(const EndpointOptions& options, Store& store) {
  std::optional<UcxMesher> mesher;
  try {
    mesher.emplace(options, store);
    return mesher->run();
  } catch (const Error& error) {
    // The others need not wait for a rank that will not come. They hear why before its links tell of an end.
    announce_failure(options, store, error);
    throw;
  }
}

}  // namespace gradwire::transport
