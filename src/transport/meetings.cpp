#include "transport/meetings.hpp"

#include <fmt/format.h>

#include <array>
#include <utility>

namespace gradwire::transport {

Meetings::Meetings(const EndpointOptions& options, MeshDirectory& directory,
                   std::shared_ptr<const Doorbell> bell)
    : options_(options),
      directory_(directory),
      bell_(std::move(bell)),
      meetings_(static_cast<std::size_t>(options.world_size)) {}

wire::Hello Meetings::own_hello(int peer, bool shm, int connection, std::uint64_t token) const {
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

void Meetings::introduce(const Greeting& greeting, std::span<const int> descriptors) const {
  say_hello(greeting.socket.get(),
            own_hello(greeting.peer, greeting.shm, greeting.connection, directory_.of(greeting.peer).token),
            descriptors);
}

bool Meetings::take(Greeting& greeting) {
  std::uint32_t caller = wire::kNoRank;
  int connection = 0;
  try {
    const auto hello = greeting.read();
    if (!hello) return false;
    if (!greeting.dialed) {
      greeting.from = fmt::format("rank {} ({})", hello->rank, greeting.from);
      caller = hello->rank;
      connection = hello->connection;
    }
    check(greeting, *hello);
    caller = wire::kNoRank;  // from here on the answer itself would let it in
    enter(greeting, *hello);
  } catch (const Error& error) {
    if (!greeting.dialed) {
      turn_away(greeting, error, caller, connection);
      return true;
    }
    if (error.code() == ErrorCode::peer_lost) directory_.throw_if_others_failed();
    throw;
  }
  return true;
}

void Meetings::turn_away(Greeting& greeting, const Error& why, std::uint32_t caller, int connection) {
  // So that it learns what is wrong, too. What it sent beyond its hello must not reset the connection.
  say_hello(greeting.socket.get(),
            own_hello(static_cast<int>(caller), greeting.shm, connection, directory_.own().token), {});
  greeting.drain();
  const bool may_be_noise = why.code() == ErrorCode::corrupt_frame || why.code() == ErrorCode::peer_lost;
  if (!may_be_noise) throw Error(why);
  note_stranger(fmt::format("a connection was turned away ({})", why.what()));
}

void Meetings::check(const Greeting& greeting, const wire::Hello& hello) const {
  const auto peer = greeting.dialed ? greeting.peer : options_.rank;
  wire::check_hello(hello, own_hello(peer, greeting.shm, 0, directory_.of(peer).token), greeting.from);
}

void Meetings::enter(Greeting& greeting, const wire::Hello& hello) {
  const int peer = static_cast<int>(hello.rank);
  Meeting& meeting = with(peer);
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
    say_hello(greeting.socket.get(), own_hello(peer, greeting.shm, hello.connection, directory_.own().token),
              std::span(descriptors).first(greeting.shm ? 1 : 0));
  }
  meeting.sockets[hello.connection] = std::move(greeting.socket);
  --meeting.missing;
}

std::vector<int> Meetings::missing() const {
  std::vector<int> ranks;
  for (int peer = 0; peer < options_.world_size; ++peer) {
    if (peer != options_.rank && meetings_[static_cast<std::size_t>(peer)].missing > 0) ranks.push_back(peer);
  }
  return ranks;
}

void Meetings::note_stranger(const std::string& what) {
  constexpr std::size_t kEnough = 500;
  if (strangers_.size() < kEnough) strangers_ += "; " + what;
}

}  // namespace gradwire::transport
