#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <thread>
#include <utility>

#include "base/stream_socket.hpp"
#include "transport/greeting.hpp"
#include "transport/host_identity.hpp"
#include "transport/mesh_endpoint.hpp"
#include "transport/service/service_protocol.hpp"
#include "transport/shm/shm_socket.hpp"
#include "transport/tcp/tcp_socket.hpp"

namespace gradwire::transport {
namespace {

using std::chrono::milliseconds;

/// One attempt must not outlive a connection that hangs, as one to a host that has just died does.
constexpr std::chrono::seconds kDialTime{5};
constexpr std::chrono::seconds kAnswerTime{10};
constexpr milliseconds kFirstPause{20};
constexpr milliseconds kLongestPause{500};

/// One caller's attempts to connect with a service.
class Call {
 public:
  explicit Call(const ServiceOptions& options)
      : options_(options), place_(check_service_options(options)), deadline_(Clock::now() + options.timeout) {
    if (place_.port == 0) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("the service's address '{}' names no port", options.address),
                  "write it as host:port or [::1]:port");
    }
  }

  std::unique_ptr<Endpoint> run();

 private:
  std::unique_ptr<Endpoint> attempt();
  std::unique_ptr<Endpoint> call_by_shm(base::UniqueFd socket, const base::SocketAddress& address);
  std::unique_ptr<Endpoint> call_by_tcp(const base::SocketAddress& address);
  [[nodiscard]] base::UniqueFd dial_local(const base::SocketAddress& address);
  [[nodiscard]] Greeting introduce(base::UniqueFd socket, const base::SocketAddress& address, bool shm,
                                   int connection, std::span<const int> descriptors) const;
  [[nodiscard]] bool is_answered(std::vector<Greeting>& greetings, Clock::time_point give_up);
  [[nodiscard]] Clock::time_point answer_time() const {
    return std::min(deadline_, Clock::now() + kAnswerTime);
  }
  [[nodiscard]] bool take_answer(Greeting& greeting);
  [[nodiscard]] std::unique_ptr<Endpoint> endpoint(Meeting meeting, bool on_this_host);

  const ServiceOptions& options_;
  base::HostPort place_;
  Clock::time_point deadline_;
  std::shared_ptr<const Doorbell> bell_ = std::make_shared<const Doorbell>();
  std::uint64_t token_ = 0;  ///< of this attempt
  std::string problem_;      ///< what went wrong last, and where
};

std::unique_ptr<Endpoint> Call::run() {
  for (auto pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
    if (auto connected = attempt()) return connected;
    const auto now = Clock::now();
    if (now >= deadline_) break;
    std::this_thread::sleep_for(std::min<Clock::duration>(pause, deadline_ - now));
  }
  throw Error(ErrorCode::timeout,
              fmt::format("no connection with the service at {} within {:g} s: {}", options_.address,
                          std::chrono::duration<double>(options_.timeout).count(), problem_),
              "see whether it runs, and whether a firewall is between the hosts");
}

std::unique_ptr<Endpoint> Call::attempt() {
  std::string why;
  // Each time: a service may get its name as it starts.
  const auto addresses = base::resolve(place_.host, why);
  if (addresses.empty()) problem_ = fmt::format("'{}' cannot be resolved: {}", place_.host, why);
  for (const auto& found : addresses) {
    const auto address = found.with_port(place_.port);
    if (address.is_wildcard()) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("the address {} stands for all of a host", address.text()),
                  "name one where the service can be reached");
    }
    // Where a local service is found it is the one to talk to, also if it is too busy to answer yet.
    base::UniqueFd local = wants_shm(options_) ? dial_local(address) : base::UniqueFd();
    std::unique_ptr<Endpoint> connected;
    if (local) {
      connected = call_by_shm(std::move(local), address);
    } else if (wants_tcp(options_)) {
      connected = call_by_tcp(address);
    }
    if (connected) return connected;
  }
  return nullptr;
}

base::UniqueFd Call::dial_local(const base::SocketAddress& address) {
  if (!is_of_this_host(address)) {
    problem_ = fmt::format("{}: not on this host, so out of reach of shared memory", address.text());
    return {};
  }
  for (const auto& name : unix_names_for(address)) {
    base::UniqueFd socket = dial_unix(name);
    if (!socket) continue;
    if (base::peer_is_this_user(socket.get())) return socket;
    problem_ = fmt::format("{}: the local service there is another user's", address.text());
    return {};
  }
  problem_ = fmt::format("{}: no local service there", address.text());
  return {};
}

std::unique_ptr<Endpoint> Call::call_by_shm(base::UniqueFd socket, const base::SocketAddress& address) {
  token_ = random_token();
  Meeting meeting;
  meeting.shm = true;
  base::UniqueFd memory;
  meeting.memory = std::make_shared<const PairMemory>(PairMemory::create(memory));
  const std::array<int, 2> passed{bell_->fd(), memory.get()};
  std::vector<Greeting> greetings;
  greetings.push_back(introduce(std::move(socket), address, true, 0, passed));
  if (!is_answered(greetings, answer_time())) return nullptr;
  Greeting& greeting = greetings.front();
  if (greeting.descriptors.size() != 1) {
    problem_ = greeting.from + " passed nothing to wake it by";
    return nullptr;
  }
  meeting.bell = std::make_shared<const Doorbell>(std::move(greeting.descriptors.front()));
  meeting.sockets.push_back(std::move(greeting.socket));
  return endpoint(std::move(meeting), true);
}

std::unique_ptr<Endpoint> Call::call_by_tcp(const base::SocketAddress& address) {
  token_ = random_token();
  std::vector<Greeting> greetings;
  const auto give_up = std::min(deadline_, Clock::now() + kDialTime);
  for (int i = 0; i < kServiceTcpConnections; ++i) {
    std::string why;
    base::UniqueFd socket = dial_tcp(address, give_up, why);
    if (!socket) {
      // Who has turned a connection away may have closed its door by now.
      static_cast<void>(is_answered(greetings, Clock::now()));
      problem_ = fmt::format("{}: {}", address.text(), why);
      return nullptr;
    }
    greetings.push_back(introduce(std::move(socket), address, false, i, {}));
  }
  if (!is_answered(greetings, answer_time())) return nullptr;
  Meeting meeting;
  for (Greeting& greeting : greetings) meeting.sockets.push_back(std::move(greeting.socket));
  return endpoint(std::move(meeting), is_of_this_host(address));
}

Greeting Call::introduce(base::UniqueFd socket, const base::SocketAddress& address, bool shm, int connection,
                         std::span<const int> descriptors) const {
  Greeting greeting;
  greeting.socket = std::move(socket);
  greeting.from = "the service at " + address.text();
  greeting.dialed = true;
  greeting.shm = shm;
  greeting.peer = kServiceRank;
  greeting.connection = connection;
  say_hello(greeting.socket.get(),
            service_hello(options_, kCallerRank, shm, static_cast<std::uint16_t>(connection), token_),
            descriptors);
  return greeting;
}

/// Throws Error when the service says on any of them that this caller does not belong there.
bool Call::is_answered(std::vector<Greeting>& greetings, Clock::time_point give_up) {
  bool answered = true;
  const auto fail = [&](std::string problem) {
    problem_ = std::move(problem);
    answered = false;
    give_up = Clock::now();  // The others may still say why.
  };
  for (Greeting& greeting : greetings) {
    try {
      while (!take_answer(greeting)) {
        if (base::wait_for(greeting.socket.get(), POLLIN, give_up)) continue;
        fail(greeting.from + " took the connection, but does not answer");
        break;
      }
    } catch (const Error& error) {
      const bool may_pass = error.code() == ErrorCode::peer_lost || error.code() == ErrorCode::corrupt_frame;
      if (!may_pass) throw;
      fail(error.what());
    }
  }
  return answered;
}

bool Call::take_answer(Greeting& greeting) {
  const auto hello = greeting.read();
  if (!hello) return false;
  const auto connection = static_cast<std::uint16_t>(greeting.connection);
  wire::check_hello(*hello, service_hello(options_, kCallerRank, greeting.shm, connection, token_),
                    greeting.from);
  if (hello->connection != connection) {
    throw Error(ErrorCode::corrupt_frame, greeting.from + " answers for another connection",
                "install the same gradwire on all hosts", kServiceRank);
  }
  return true;
}

std::unique_ptr<Endpoint> Call::endpoint(Meeting meeting, bool on_this_host) {
  auto rate = options_.shared_link;
  if (!rate && options_.link_rate > 0) rate = std::make_shared<LinkRate>(options_.link_rate);
  std::vector<std::unique_ptr<PeerLink>> links(2);
  links[kServiceRank] = make_service_link(std::move(meeting), options_, kCallerRank, rate);
  return std::make_unique<MeshEndpoint>(kCallerRank, std::move(links), bell_,
                                        rate ? Patience::sleep : patience_for(on_this_host ? 2 : 1));
}

}  // namespace

std::shared_ptr<LinkRate> make_link_rate(double rate) {
  EndpointOptions options;
  options.link_rate = rate;
  check(options);
  return std::make_shared<LinkRate>(rate);
}

std::unique_ptr<Endpoint> call_service(const ServiceOptions& options) { return Call(options).run(); }

}  // namespace gradwire::transport
