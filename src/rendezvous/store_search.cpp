#include "rendezvous/store_search.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <thread>

#include "base/host_address.hpp"
#include "base/stream_socket.hpp"
#include "base/system_error.hpp"
#include "gradwire/error.hpp"

namespace gradwire::rendezvous {
namespace {

using std::chrono::milliseconds;

/// How long a predecessor may take to go away: a server that still holds the port, or still answers there.
constexpr milliseconds kPredecessor{5000};

/// Why a round of a search found nothing.
struct Findings {
  std::string trouble = "nobody answers";
  bool other_job = false;
  bool other_version = false;
  bool taken = false;

  /// The last round is cut short by the deadline: the one before says more.
  void add_round_before(const Findings& before) {
    trouble = before.trouble;
    other_job = other_job || before.other_job;
    other_version = other_version || before.other_version;
    taken = taken || before.taken;
  }
};

/// One attempt at one address; a connection when it is the right server.
base::UniqueFd knock(const base::SocketAddress& address, const std::string& hello, Clock::time_point deadline,
                     Findings& findings) {
  int error = 0;
  base::UniqueFd fd = base::connect_to(address, deadline, error);
  if (!fd) {
    findings.trouble = base::errno_text(error);
    return {};
  }
  if (address.family() != AF_UNIX) base::keep_lively(fd.get());
  if (address.family() == AF_UNIX && !base::peer_is_this_user(fd.get())) {
    findings.trouble = "another user's process holds that socket";
    return {};
  }
  std::string answer(kStoreAnswer, '\0');
  if (!send_all(fd.get(), hello, deadline) ||
      !receive_all(fd.get(), answer.data(), answer.size(), deadline)) {
    findings.trouble = "what listens there is not a store";
    return {};
  }
  const auto verdict = read_store_answer(answer);
  if (verdict == Verdict::welcome) return fd;
  if (verdict == Verdict::other_job) findings.other_job = true;
  if (verdict == Verdict::other_version) findings.other_version = true;
  if (verdict == Verdict::taken) findings.taken = true;
  if (!verdict) findings.trouble = "what listens there is not a store";
  return {};
}

std::vector<base::SocketAddress> candidates(const StoreUrl& url, Findings& findings) {
  if (url.scheme == StoreUrl::Scheme::unix_socket) return {base::abstract_address(url.place)};
  std::string why;
  const auto addresses = base::resolve(url.place, why);
  if (addresses.empty()) findings.trouble = fmt::format("host '{}': {}", url.place, why);
  std::vector<base::SocketAddress> out;
  for (int port = url.port; port < url.port + url.ports; ++port) {
    for (const auto& address : addresses) out.push_back(address.with_port(static_cast<std::uint16_t>(port)));
  }
  return out;
}

[[noreturn]] void give_up(const StoreUrl& url, const StoreHello& hello, const Findings& findings,
                          double seconds) {
  const auto happened = [&](std::string_view what) {
    return fmt::format("rank {} found no store of job '{}' at {} in {:.3g} s: {}", hello.rank, hello.job,
                       url.text(), seconds, what);
  };
  if (findings.other_version) {
    throw Error(ErrorCode::version_mismatch,
                happened("the store there speaks another version of the protocol"),
                "run the same version of Gradwire on all ranks", 0);
  }
  if (findings.taken) {
    throw Error(
        ErrorCode::invalid_argument, happened(fmt::format("rank {} is there already", hello.rank)),
        "give every process a rank of its own, and close a communicator on all ranks before the next one",
        static_cast<int>(hello.rank));
  }
  if (findings.other_job) {
    throw Error(ErrorCode::version_mismatch, happened("the store there belongs to another job"),
                "set the same GRADWIRE_JOB on all ranks, or give this job an address of its own", 0);
  }
  const char* advice = url.scheme == StoreUrl::Scheme::unix_socket
                           ? "check that rank 0 runs on this host with the same GRADWIRE_JOB; for ranks on "
                             "several hosts set GRADWIRE_STORE=tcp://host:port"
                           : "check that rank 0 is running and that this host can reach it there";
  throw Error(ErrorCode::timeout, happened(findings.trouble), advice, 0);
}

/// Listeners at one port; none, with errno in `error`, when one of the addresses cannot be had.
std::vector<base::UniqueFd> listen_at_port(const std::vector<base::SocketAddress>& addresses,
                                           std::uint16_t port, int& error) {
  std::vector<base::UniqueFd> out;
  for (const auto& address : addresses) {
    int failed = 0;
    base::UniqueFd fd = base::listen_at(address.with_port(port), failed);
    if (fd) {
      out.push_back(std::move(fd));
    } else if (failed == EADDRNOTAVAIL || failed == EAFNOSUPPORT) {
      error = failed;  // not an address of this host: a proxy's, or of a protocol that it lacks
    } else {
      error = failed;
      return {};
    }
  }
  return out;
}

std::vector<base::UniqueFd> listen_at_first_free_port(const StoreUrl& url,
                                                      const std::vector<base::SocketAddress>& addresses,
                                                      int& error) {
  for (int port = url.port; port < url.port + url.ports; ++port) {
    error = EADDRNOTAVAIL;
    auto listeners = listen_at_port(addresses, static_cast<std::uint16_t>(port), error);
    if (listeners.empty() && error != EADDRINUSE && error != EACCES) {
      for (const auto& any : base::every_address()) {
        listeners = listen_at_port({any}, static_cast<std::uint16_t>(port), error);
        if (!listeners.empty() || error == EADDRINUSE) break;
      }
    }
    if (!listeners.empty()) return listeners;
  }
  return {};
}

std::vector<base::SocketAddress> addresses_to_serve(const StoreUrl& url) {
  if (url.scheme == StoreUrl::Scheme::unix_socket) return {base::abstract_address(url.place)};
  std::string why;
  auto addresses = base::resolve(url.place, why);
  if (addresses.empty()) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("rank 0 cannot serve the store at {}: host '{}': {}", url.text(), url.place, why),
                "name a host that every rank can resolve, or use its address");
  }
  if (base::misleading_name(url.place, addresses)) return {};
  return addresses;
}

}  // namespace

FoundStore find_store(const StoreUrl& url, const StoreHello& hello, milliseconds timeout) {
  const auto start = Clock::now();
  const auto deadline = start + std::min(timeout, kLongestWait);
  const std::string bytes = write_store_hello(hello);
  milliseconds patience{1000};
  milliseconds pause{5};
  std::optional<Findings> before;
  for (;;) {
    Findings findings;
    for (const auto& address : candidates(url, findings)) {
      const auto until = std::min(deadline, Clock::now() + patience);
      if (base::UniqueFd fd = knock(address, bytes, until, findings)) return {std::move(fd), address};
    }
    const auto now = Clock::now();
    const bool strange = url.ports == 1 && (findings.other_job || findings.other_version);
    if (before && now >= deadline) findings.add_round_before(*before);
    if (now >= deadline || (strange && now - start > kPredecessor)) {
      give_up(url, hello, findings, std::chrono::duration<double>(now - start).count());
    }
    std::this_thread::sleep_for(std::min<std::chrono::nanoseconds>(pause, deadline - now));
    before = findings;
    pause = std::min(pause * 3 / 2, milliseconds(200));
    patience = std::min(patience * 2, milliseconds(10'000));
  }
}

std::vector<base::UniqueFd> open_listeners(const StoreUrl& url, milliseconds timeout) {
  const auto deadline = Clock::now() + std::min(timeout, kPredecessor);
  const auto addresses = addresses_to_serve(url);
  for (;;) {
    int error = EADDRNOTAVAIL;
    auto listeners = listen_at_first_free_port(url, addresses, error);
    if (!listeners.empty()) return listeners;
    if (error != EADDRINUSE || Clock::now() >= deadline) {
      const bool local = url.scheme == StoreUrl::Scheme::unix_socket;
      throw Error(ErrorCode::system,
                  fmt::format("rank 0 cannot serve the store at {}: {}", url.text(), base::errno_text(error)),
                  local ? "wait until the other job of that name has ended, or set another GRADWIRE_JOB"
                        : "choose another port, or end what uses it");
    }
    std::this_thread::sleep_for(milliseconds(50));
  }
}

}  // namespace gradwire::rendezvous
