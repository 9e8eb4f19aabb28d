#include "transport/socket_mesh.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/host_address.hpp"
#include "base/stream_socket.hpp"
#include "base/system_error.hpp"
#include "transport/address_record.hpp"
#include "transport/greeting.hpp"
#include "transport/host_identity.hpp"
#include "transport/mesh_endpoint.hpp"
#include "transport/rendezvous_keys.hpp"
#include "transport/shm/shm_socket.hpp"
#include "transport/tcp/tcp_link.hpp"
#include "transport/tcp/tcp_socket.hpp"

namespace gradwire::transport {
namespace {

using std::chrono::milliseconds;

constexpr const char* kAddressPrefix = "address/";
constexpr const char* kFailedKey = "failed";
/// How often a waiting rank looks whether another one gave up.
constexpr milliseconds kFailedInterval{250};
/// Each pair has one beside those for data: see TcpLink.
constexpr int kControlConnections = 1;
constexpr milliseconds kCrowdedPause{10};
constexpr milliseconds kRedialPause{50};
constexpr std::chrono::seconds kRedialTime{5};
/// Who connects says hello at once; a stranger that does not is given no longer than this, and no longer than
/// the shorter time where descriptors or places run out.
constexpr std::chrono::seconds kHelloPatience{10};
constexpr std::chrono::seconds kShortHelloPatience{1};
constexpr std::ptrdiff_t kMaxCallers = 1024;

/// What came together for one peer so far.
struct Meeting {
  std::vector<base::UniqueFd> sockets;  // by connection
  std::shared_ptr<const PairMemory> memory;
  std::shared_ptr<const Doorbell> bell;
  bool shm = false;
  int missing = 1;  // connections
};

/// Connects one rank with all others. Each listens, publishes where, dials the lower ranks and is dialed by
/// the higher.
class Mesher {
 public:
  Mesher(const EndpointOptions& options, Store& store)
      : options_(options),
        store_(store),
        deadline_(Clock::now() + options.timeout),
        bell_(std::make_shared<const Doorbell>()),
        records_(static_cast<std::size_t>(options.world_size)),
        meetings_(static_cast<std::size_t>(options.world_size)) {}

  std::unique_ptr<Endpoint> run() {
    listen();
    store_.set(key_of(options_.rank), write_record(records_[own()]));
    gather();
    for (int peer = 0; peer < options_.rank; ++peer) dial(peer);
    while (!is_complete()) greet();
    return finish();
  }

 private:
  [[nodiscard]] std::size_t own() const { return static_cast<std::size_t>(options_.rank); }
  [[nodiscard]] bool wants_shm() const {
    return options_.kind == "shm" || (options_.kind == "auto" && options_.link_rate <= 0);
  }
  [[nodiscard]] bool wants_tcp() const { return options_.kind != "shm"; }
  [[nodiscard]] std::string key_of(int rank) const {
    return store_key(options_, kAddressPrefix + std::to_string(rank));
  }
  [[nodiscard]] bool is_complete() const {
    for (int peer = 0; peer < options_.world_size; ++peer) {
      if (peer != options_.rank && meetings_[static_cast<std::size_t>(peer)].missing > 0) return false;
    }
    return true;
  }

  void listen();
  void gather();
  void throw_if_others_failed();
  void dial(int peer);
  bool dial_shm(int peer, Clock::time_point give_up);
  void dial_tcp_connection(int peer, int connection, Clock::time_point give_up);
  /// After a moment: the store may still hold the address of an earlier run.
  void read_again(int peer);
  /// Of those dialed so far: who turned this rank away may have closed its door to it, too.
  void hear_answers();
  void greet();
  void accept_all(const base::UniqueFd& listener, bool shm);
  [[nodiscard]] bool make_room();
  void drop_silent_callers(Clock::duration patience);
  [[nodiscard]] std::ptrdiff_t callers() const;
  bool take(Greeting& greeting);
  [[nodiscard]] wire::Hello expected_hello(const Greeting& greeting) const;
  void enter(Greeting& greeting, const wire::Hello& hello);
  [[nodiscard]] wire::Hello own_hello(int peer, bool shm, int connection, std::uint64_t token) const;
  void say_hello(const Greeting& greeting, const wire::Hello& hello, std::span<const int> descriptors) const;
  void note_stranger(const std::string& what);
  [[nodiscard]] Error unfinished();
  std::unique_ptr<Endpoint> finish();

  const EndpointOptions& options_;
  Store& store_;
  Clock::time_point deadline_;
  Clock::time_point next_failed_check_ = Clock::now() + kFailedInterval;
  std::shared_ptr<const Doorbell> bell_;
  base::UniqueFd unix_listener_;
  base::UniqueFd tcp_listener_;
  base::SocketAddress tcp_address_;
  std::vector<AddressRecord> records_;
  std::vector<Meeting> meetings_;
  std::vector<Greeting> greetings_;
  bool crowded_ = false;   // no place for another caller: let some time pass before the next is accepted
  std::string strangers_;  // who was turned away, for the error when somebody is missing
};

void Mesher::listen() {
  AddressRecord& record = records_[own()];
  record.world_size = static_cast<std::uint32_t>(options_.world_size);
  record.connections = static_cast<std::uint16_t>(options_.connections_per_peer);
  record.token = random_token();
  record.host = host_identity();
  record.group = options_.host_id.empty() ? record.host : options_.host_id;
  if (wants_shm()) {
    record.unix_name = fmt::format("gradwire-{:016x}", record.token);
    unix_listener_ = listen_unix(record.unix_name);
  }
  if (wants_tcp()) {
    tcp_address_ = base::local_address(options_.interface);
    tcp_listener_ = listen_tcp(tcp_address_);
    record.tcp_host = tcp_address_.host();
    record.tcp_port = tcp_address_.port();
  }
}

void Mesher::gather() {
  for (int rank = 0; rank < options_.world_size; ++rank) {
    if (rank == options_.rank) continue;
    std::optional<std::string> bytes;
    while (!(bytes = store_.get(key_of(rank), std::min(time_left(deadline_), kFailedInterval)))) {
      throw_if_others_failed();
      if (Clock::now() >= deadline_) {
        throw missing_ranks(options_, ranks_without_key(options_, store_, kAddressPrefix));
      }
    }
    records_[static_cast<std::size_t>(rank)] = read_record(*bytes, rank, options_);
  }
}

void Mesher::throw_if_others_failed() {
  const auto failed = store_.get(store_key(options_, kFailedKey), milliseconds{0});
  if (failed) throw read_failure(*failed);
}

wire::Hello Mesher::own_hello(int peer, bool shm, int connection, std::uint64_t token) const {
  wire::Hello hello;
  hello.job = options_.job;
  hello.communicator = options_.communicator;
  hello.world_size = static_cast<std::uint32_t>(options_.world_size);
  hello.rank = static_cast<std::uint32_t>(options_.rank);
  hello.peer = static_cast<std::uint32_t>(peer);
  hello.connection = static_cast<std::uint16_t>(connection);
  hello.connections =
      static_cast<std::uint16_t>(shm ? 1 : options_.connections_per_peer + kControlConnections);
  hello.token = token;
  hello.layout = shm ? PairMemory::layout() : 0;
  return hello;
}

void Mesher::say_hello(const Greeting& greeting, const wire::Hello& hello,
                       std::span<const int> descriptors) const {
  // A hello fits into a fresh socket's buffer, so it goes in one piece or the peer is gone; reading will
  // tell.
  static_cast<void>(send_with_descriptors(greeting.socket, wire::write_hello(hello).view(), descriptors));
}

void Mesher::dial(int peer) {
  const auto give_up = std::min(deadline_, Clock::now() + kRedialTime);
  if (wants_shm() && dial_shm(peer, give_up)) return;
  const AddressRecord& record = records_[static_cast<std::size_t>(peer)];
  if (!wants_tcp() || record.tcp_host.empty()) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("rank {} cannot be reached by {} from rank {}", peer,
                            wants_tcp() ? "tcp" : "shared memory", options_.rank),
                "use auto or tcp on all ranks unless all of them run on one host", peer);
  }
  for (int i = 0; i < options_.connections_per_peer + kControlConnections; ++i)
    dial_tcp_connection(peer, i, give_up);
}

void Mesher::read_again(int peer) {
  throw_if_others_failed();
  hear_answers();
  ::poll(nullptr, 0, static_cast<int>(kRedialPause.count()));
  const auto bytes = store_.get(key_of(peer), milliseconds{0});
  if (bytes) records_[static_cast<std::size_t>(peer)] = read_record(*bytes, peer, options_);
}

void Mesher::hear_answers() {
  std::vector<Greeting> rest;
  for (auto& greeting : greetings_) {
    if (!greeting.dialed || !take(greeting)) rest.push_back(std::move(greeting));
  }
  greetings_ = std::move(rest);
}

bool Mesher::dial_shm(int peer, Clock::time_point give_up) {
  const AddressRecord& record = records_[static_cast<std::size_t>(peer)];
  base::UniqueFd socket;
  while (true) {
    if (record.group != records_[own()].group || record.unix_name.empty()) return false;
    socket = dial_unix(record.unix_name);
    if (socket) break;
    // On another host nobody can listen; on this one the record must be of an earlier run.
    if (record.host != records_[own()].host || Clock::now() >= give_up) return false;
    read_again(peer);
  }
  Greeting greeting;
  greeting.socket = std::move(socket);
  greeting.from = fmt::format("rank {}", peer);
  greeting.dialed = true;
  greeting.shm = true;
  greeting.peer = peer;
  base::UniqueFd memory;
  meetings_[static_cast<std::size_t>(peer)].memory =
      std::make_shared<const PairMemory>(PairMemory::create(memory));
  const std::array<int, 2> descriptors{bell_->fd(), memory.get()};
  say_hello(greeting, own_hello(peer, true, 0, record.token), descriptors);
  greetings_.push_back(std::move(greeting));
  return true;
}

void Mesher::dial_tcp_connection(int peer, int connection, Clock::time_point give_up) {
  const AddressRecord& record = records_[static_cast<std::size_t>(peer)];
  std::string problem;
  while (true) {
    base::SocketAddress address = base::numeric_address(record.tcp_host, record.tcp_port);
    if (address.is_loopback() && record.host != records_[own()].host) {
      throw Error(
          ErrorCode::invalid_argument,
          fmt::format("rank {} runs on another host but listens at {}, its loopback", peer, address.text()),
          "name the network interface that leads to the other hosts on all ranks", peer);
    }
    address.set_scope(tcp_address_.scope());
    Greeting greeting;
    greeting.socket = dial_tcp(address, give_up, problem);
    if (greeting.socket) {
      greeting.from = fmt::format("rank {} at {}", peer, address.text());
      greeting.dialed = true;
      greeting.peer = peer;
      greeting.connection = connection;
      say_hello(greeting, own_hello(peer, false, connection, record.token), {});
      greetings_.push_back(std::move(greeting));
      return;
    }
    if (Clock::now() >= give_up) {
      throw_if_others_failed();
      throw Error(ErrorCode::peer_lost,
                  fmt::format("cannot connect to rank {} at {}: {}", peer, address.text(), problem),
                  "see whether it still runs, whether a firewall is between the hosts, and that the store is "
                  "this run's",
                  peer);
    }
    read_again(peer);
  }
}

void Mesher::greet() {
  std::vector<pollfd> wanted;
  wanted.push_back({crowded_ ? -1 : unix_listener_.get(), POLLIN, 0});
  wanted.push_back({crowded_ ? -1 : tcp_listener_.get(), POLLIN, 0});
  for (const auto& greeting : greetings_) wanted.push_back({greeting.socket.get(), POLLIN, 0});
  const auto patience = std::min(time_left(deadline_), crowded_ ? kCrowdedPause : kFailedInterval);
  crowded_ = false;
  const int ready = ::poll(wanted.data(), wanted.size(), static_cast<int>(patience.count()));
  if (ready <= 0 || Clock::now() >= next_failed_check_) {
    next_failed_check_ = Clock::now() + kFailedInterval;
    throw_if_others_failed();
    if (Clock::now() >= deadline_) throw unfinished();
    drop_silent_callers(std::min<Clock::duration>(kHelloPatience, options_.timeout / 2));
  }
  if (ready <= 0) return;

  std::vector<Greeting> rest;
  for (std::size_t i = 0; i < greetings_.size(); ++i) {
    const bool done = wanted[i + 2].revents != 0 && take(greetings_[i]);
    if (!done) rest.push_back(std::move(greetings_[i]));
  }
  greetings_ = std::move(rest);
  if (wanted[0].revents != 0) accept_all(unix_listener_, true);
  if (wanted[1].revents != 0) accept_all(tcp_listener_, false);
}

void Mesher::accept_all(const base::UniqueFd& listener, bool shm) {
  while (true) {
    base::SocketAddress address;
    address.size = sizeof address.storage;
    Greeting greeting;
    greeting.socket.reset(
        ::accept4(listener.get(), address.get(), &address.size, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!greeting.socket) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      const bool is_short = errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS;
      const Error error =
          base::system_error("cannot accept a connection", "raise the limit on open files (ulimit -n)");
      if (is_short && !make_room()) throw error;
      return;
    }
    greeting.shm = shm;
    greeting.from = shm ? "somebody on this host" : "somebody at " + address.text();
    if (shm && !base::peer_is_this_user(greeting.socket.get())) {
      note_stranger("another user of this host tried to connect");
      continue;
    }
    greetings_.push_back(std::move(greeting));
    if (callers() >= kMaxCallers && make_room() && crowded_) return;
  }
}

std::ptrdiff_t Mesher::callers() const {
  return std::count_if(greetings_.begin(), greetings_.end(), [](const auto& each) { return !each.dialed; });
}

/// False when there is nobody whose place could be taken, now or a little later.
bool Mesher::make_room() {
  const auto before = callers();
  if (before == 0) return false;
  drop_silent_callers(std::min<Clock::duration>(kShortHelloPatience, options_.timeout / 2));
  crowded_ = callers() == before;
  return true;
}

void Mesher::drop_silent_callers(Clock::duration patience) {
  const auto latest = Clock::now() - patience;
  const auto dropped = std::erase_if(
      greetings_, [&](const auto& greeting) { return !greeting.dialed && greeting.since <= latest; });
  if (dropped > 0) note_stranger(fmt::format("{} connections said no whole hello", dropped));
}

/// Whether the greeting is over, either way.
bool Mesher::take(Greeting& greeting) {
  auto caller = static_cast<int>(wire::kNoRank);
  int connection = 0;
  try {
    const auto hello = greeting.read();
    if (!hello) return false;
    if (!greeting.dialed) {
      greeting.from = fmt::format("rank {} ({})", hello->rank, greeting.from);
      caller = static_cast<int>(hello->rank);
      connection = hello->connection;
    }
    wire::check_hello(*hello, expected_hello(greeting), greeting.from);
    caller = static_cast<int>(wire::kNoRank);
    enter(greeting, *hello);
    return true;
  } catch (const Error& error) {
    if (greeting.dialed) {
      if (error.code() == ErrorCode::peer_lost) throw_if_others_failed();
      throw;
    }
    // So that it learns what is wrong, too. What it sent beyond its hello must not reset the connection.
    say_hello(greeting, own_hello(caller, greeting.shm, connection, records_[own()].token), {});
    greeting.drain();
    const bool may_be_noise =
        error.code() == ErrorCode::corrupt_frame || error.code() == ErrorCode::peer_lost;
    if (!may_be_noise) throw;
    note_stranger(fmt::format("a connection was turned away ({})", error.what()));
    return true;
  }
}

wire::Hello Mesher::expected_hello(const Greeting& greeting) const {
  const auto peer = greeting.dialed ? greeting.peer : options_.rank;
  return own_hello(peer, greeting.shm, 0, records_[static_cast<std::size_t>(peer)].token);
}

void Mesher::enter(Greeting& greeting, const wire::Hello& hello) {
  const int peer = static_cast<int>(hello.rank);
  Meeting& meeting = meetings_[hello.rank];
  const auto refuse = [&](const char* what) {
    throw Error(ErrorCode::corrupt_frame, fmt::format("rank {} {}", peer, what),
                "make sure that no two processes have the same rank", peer);
  };
  if (!greeting.dialed && peer < options_.rank) refuse("connects although it should be connected to");
  if (greeting.dialed && hello.connection != greeting.connection) refuse("answers for another connection");

  if (meeting.sockets.empty()) {
    meeting.shm = greeting.shm;
    meeting.sockets.resize(hello.connections);
    meeting.missing = hello.connections;
  }
  if (meeting.shm != greeting.shm || meeting.sockets[hello.connection]) refuse("connects twice");
  if (greeting.shm) {
    if (greeting.descriptors.size() != (greeting.dialed ? 1 : 2)) refuse("passed no memory to share");
    meeting.bell = std::make_shared<const Doorbell>(std::move(greeting.descriptors[0]));
    if (!greeting.dialed) {
      meeting.memory = std::make_shared<const PairMemory>(PairMemory::map(greeting.descriptors[1], peer));
    }
  }
  if (!greeting.dialed) {
    const std::array<int, 1> descriptors{bell_->fd()};
    say_hello(greeting, own_hello(peer, greeting.shm, hello.connection, records_[own()].token),
              std::span(descriptors).first(greeting.shm ? 1 : 0));
  }
  meeting.sockets[hello.connection] = std::move(greeting.socket);
  --meeting.missing;
}

void Mesher::note_stranger(const std::string& what) {
  constexpr std::size_t kEnough = 500;
  if (strangers_.size() < kEnough) strangers_ += "; " + what;
}

Error Mesher::unfinished() {
  std::vector<int> missing;
  for (int peer = 0; peer < options_.world_size; ++peer) {
    if (peer != options_.rank && meetings_[static_cast<std::size_t>(peer)].missing > 0)
      missing.push_back(peer);
  }
  return {ErrorCode::timeout,
          fmt::format("no connection with {} {} of {} within {:g} s{}",
                      missing.size() == 1 ? "rank" : "ranks", fmt::join(missing, ", "), options_.world_size,
                      std::chrono::duration<double>(options_.timeout).count(), strangers_),
          "see their messages, and whether a firewall is between the hosts",
          missing.size() == 1 ? std::optional(missing.front()) : std::nullopt};
}

std::unique_ptr<Endpoint> Mesher::finish() {
  greetings_.clear();  // strangers: what is left to be opened may need their descriptors
  const auto rate = options_.link_rate > 0 ? std::make_shared<LinkRate>(options_.link_rate) : nullptr;
  std::vector<std::unique_ptr<PeerLink>> links(meetings_.size());
  for (int peer = 0; peer < options_.world_size; ++peer) {
    if (peer == options_.rank) continue;
    Meeting& meeting = meetings_[static_cast<std::size_t>(peer)];
    auto& link = links[static_cast<std::size_t>(peer)];
    if (meeting.shm) {
      RingParts parts;
      parts.rank = options_.rank;
      parts.peer = peer;
      parts.world_size = options_.world_size;
      parts.memory = std::move(meeting.memory);
      parts.peer_bell = std::move(meeting.bell);
      parts.socket = std::move(meeting.sockets.front());
      parts.check_payload = options_.check_payload;
      link = std::make_unique<RingLink>(std::move(parts));
    } else {
      for (const auto& socket : meeting.sockets) tune_tcp(socket, options_.link_rate);
      link = std::make_unique<TcpLink>(TcpParts{options_.rank, peer, options_.world_size,
                                                options_.communicator, std::move(meeting.sockets), rate});
    }
  }
  const auto ranks_here = std::count_if(records_.begin(), records_.end(),
                                        [&](const auto& each) { return each.host == records_[own()].host; });
  return std::make_unique<MeshEndpoint>(options_.rank, std::move(links), bell_,
                                        rate ? Patience::sleep : patience_for(static_cast<int>(ranks_here)));
}

}  // namespace

std::unique_ptr<Endpoint> connect_sockets(const EndpointOptions& options, Store& store) {
  try {
    return Mesher(options, store).run();
  } catch (const Error& error) {
    // The others need not wait for a rank that will not come; without the store they will have to.
    try {
      const std::string key = store_key(options, kFailedKey);
      if (!store.get(key, milliseconds{0})) store.set(key, write_failure(options, error));
    } catch (...) {
      // A store that a program hands in may throw anything; the error that counts is the first.
    }
    throw;
  }
}

}  // namespace gradwire::transport
