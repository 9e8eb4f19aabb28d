#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace gradwire {

/// Stands between workers and a server at 127.0.0.1, and hangs up in the middle of things: each connection
/// carries a random number of bytes either way, then all connections end at once, with what was under way.
class CuttingRelay {
 public:
  /// Between `least` and `most` bytes from one cut to the next.
  CuttingRelay(const std::string& server, std::size_t least, std::size_t most)
      : port_(static_cast<std::uint16_t>(std::stoi(server.substr(server.rfind(':') + 1)))),
        least_(least),
        most_(most) {
    listening_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in place = at(0);
    socklen_t size = sizeof place;
    if (::bind(listening_, reinterpret_cast<sockaddr*>(&place), size) != 0 || ::listen(listening_, 16) != 0 ||
        ::getsockname(listening_, reinterpret_cast<sockaddr*>(&place), &size) != 0) {
      throw std::runtime_error("a relay cannot listen");
    }
    address_ = "127.0.0.1:" + std::to_string(ntohs(place.sin_port));
    thread_ = std::thread([this] { run(); });
  }
  ~CuttingRelay() {
    ending_ = true;
    thread_.join();
    ::close(listening_);
  }
  CuttingRelay(const CuttingRelay&) = delete;
  CuttingRelay& operator=(const CuttingRelay&) = delete;

  [[nodiscard]] const std::string& address() const { return address_; }
  [[nodiscard]] int cuts() const { return cuts_; }

 private:
  struct Pair {
    int ends[2];
  };

  static sockaddr_in at(std::uint16_t port) {
    sockaddr_in place{};
    place.sin_family = AF_INET;
    place.sin_port = htons(port);
    place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return place;
  }

  void run() {
    std::size_t left = draw();
    while (!ending_) {
      std::vector<pollfd> ready{{listening_, POLLIN, 0}};
      for (const Pair& pair : pairs_) {
        for (const int end : pair.ends) ready.push_back({end, POLLIN, 0});
      }
      if (::poll(ready.data(), ready.size(), 20) <= 0) continue;
      bool ended = false;
      for (std::size_t i = 1; i < ready.size() && !ended; ++i) {
        if (ready[i].revents == 0) continue;
        const Pair& pair = pairs_[(i - 1) / 2];
        ended = !forward(ready[i].fd, pair.ends[i % 2], left);
        if (ended) {
          drop((i - 1) / 2);
        } else if (left == 0) {
          ++cuts_;
          left = draw();
          while (!pairs_.empty()) drop(0);
          ended = true;
        }
      }
      if (!ended && ready[0].revents != 0) accept();
    }
    while (!pairs_.empty()) drop(0);
  }

  void accept() {
    const int worker = ::accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC);
    const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in place = at(port_);
    if (worker < 0 || ::connect(server, reinterpret_cast<const sockaddr*>(&place), sizeof place) != 0) {
      ::close(worker);
      ::close(server);
      return;
    }
    pairs_.push_back({{worker, server}});
  }

  /// False when that end has hung up.
  bool forward(int from, int to, std::size_t& left) {
    std::array<char, 16'384> bytes{};
    const ssize_t size = ::read(from, bytes.data(), std::min(bytes.size(), left));
    if (size <= 0) return false;
    for (ssize_t done = 0; done < size;) {
      const ssize_t sent =
          ::send(to, bytes.data() + done, static_cast<std::size_t>(size - done), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      done += sent;
    }
    left -= std::min(left, static_cast<std::size_t>(size));
    return true;
  }

  void drop(std::size_t index) {
    for (const int end : pairs_[index].ends) ::close(end);
    pairs_.erase(pairs_.begin() + static_cast<std::ptrdiff_t>(index));
  }

  std::size_t draw() { return std::uniform_int_distribution(least_, most_)(random_); }

  std::uint16_t port_;
  std::size_t least_;
  std::size_t most_;
  int listening_ = -1;
  std::string address_;
  std::vector<Pair> pairs_;
  std::mt19937 random_{5};
  std::atomic<bool> ending_{false};
  std::atomic<int> cuts_{0};
  std::thread thread_;
};

}  // namespace gradwire
