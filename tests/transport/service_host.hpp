#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "mesh.hpp"
#include "transport/service.hpp"

namespace gradwire::transport {

/// How the callers of a test reach its service.
struct Way {
  std::string name;
  std::string kind;
  std::string host;
};
inline std::ostream& operator<<(std::ostream& out, const Way& way) { return out << way.name; }

/// Shared memory and TCP, over IPv4 and, where the host has it, IPv6.
std::vector<Way> all_ways();

ServiceOptions service_options(const Way& way);
/// The same for those who call it.
ServiceOptions caller_options(const Way& way, const std::string& address);

/// Connects, does something, and says goodbye.
void call(const ServiceOptions& options, const std::function<void(Endpoint&)>& body);
/// Sends frames and expects each of them back.
void exchange(Endpoint& endpoint, std::uint64_t frames, std::size_t most_bytes);

std::size_t open_descriptors();

/// A service that sends every frame back, driven by whoever waits for something.
class EchoHost {
 public:
  explicit EchoHost(const ServiceOptions& options) : service_(open_service(options)) {}

  /// Serves until it holds, or the test has waited in vain.
  void serve_until(const std::function<bool()>& holds);
  /// Serves while `calls` run, each in a thread of its own.
  void serve_while(const std::vector<std::function<void()>>& calls);
  void serve_once();

  [[nodiscard]] Service& service() { return *service_; }
  [[nodiscard]] std::string address() const { return service_->address(); }
  [[nodiscard]] const std::vector<CallerId>& present() const { return present_; }
  [[nodiscard]] std::size_t arrived() const { return arrived_; }
  [[nodiscard]] const std::vector<Departure>& departed() const { return departed_; }
  [[nodiscard]] std::uint64_t frames() const { return frames_; }
  /// Whether somebody's answers have piled up, so that no more of its frames are taken.
  [[nodiscard]] bool is_stuck() const;
  /// Whether frames are answered; otherwise they are taken and that is all.
  bool answers = true;

 private:
  static constexpr std::size_t kMostWaiting = 16;

  struct Answers {
    std::deque<Received> waiting;
    std::deque<Received> lent;
    std::uint64_t completed = 0;
  };
  bool echo(CallerId caller);

  std::map<CallerId, Answers> answers_;  // lent to the service, which goes first
  std::unique_ptr<Service> service_;
  std::vector<CallerId> present_;
  std::vector<Departure> departed_;
  std::size_t arrived_ = 0;
  std::uint64_t frames_ = 0;
};

}  // namespace gradwire::transport
