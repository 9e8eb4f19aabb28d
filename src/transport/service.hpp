#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gradwire/error.hpp"
#include "transport/transport.hpp"

namespace gradwire::transport {

struct LinkRate;

/// The emulated link of a host whose calls share it, from any thread; `rate` in bytes a second each way.
/// Throws Error(invalid_argument).
std::shared_ptr<LinkRate> make_link_rate(double rate);

/// What both sides of a service have to agree on, and how they are joined.
struct ServiceOptions {
  std::string address;        ///< "host:port" or "[::1]:port"; a service may leave the port out: any free one
  std::string job;            ///< callers of another job are turned away
  std::string kind = "auto";  ///< "auto" (shm between processes of one host, else tcp), "shm", "tcp"
  double link_rate = 0;       ///< bytes a second each way, shared by all links of a service; 0: none
  std::shared_ptr<LinkRate> shared_link{};     ///< of link_rate, for calls; null: each has a link of its own
  bool check_payload = false;                  ///< checksum payloads on shm too
  std::chrono::milliseconds timeout{300'000};  ///< for connecting
};

/// A caller's number: each connection has a new one.
using CallerId = std::uint64_t;

/// A caller that went.
struct Departure {
  CallerId caller = 0;
  std::optional<Error> error;  ///< peer_lost, corrupt_frame or what it said; none: it said goodbye
};

/// Links to callers that come and go, each one a world of two: the caller is rank 0, the service rank 1.
/// Whatever a caller does or sends ends its own link and nothing else. Not thread-safe but for wake().
class Service {
 public:
  virtual ~Service() = default;

  /// Where it listens, for callers: "host:port", with a numeric host.
  [[nodiscard]] virtual std::string address() const = 0;

  /// Lets callers in and moves bytes, without blocking; true when anything happened.
  virtual bool progress() = 0;
  /// Who came since this was asked last. Nobody departs before that.
  [[nodiscard]] virtual std::vector<CallerId> arrivals() = 0;
  /// Who went since this was asked last; their links are gone, with the payloads lent to them. Whom drop()
  /// ended is not among them. All frames that had arrived before the end have been taken by then: as long as
  /// they are not, the caller stays.
  [[nodiscard]] virtual std::vector<Departure> departures() = 0;

  /// Of a caller that has come and not gone. Nothing that the caller does makes it throw. Once its stream is
  /// over, also by garbage, which the caller is told of, front() has the frames that came before and then
  /// none, try_send() takes frames and forgets them, and departures() says why.
  [[nodiscard]] virtual Link& link(CallerId caller) = 0;
  /// Whether the stream of a caller that has come and not gone is known to be over, though frames of it may
  /// still have to be taken: of those that nobody takes its end may be hidden.
  [[nodiscard]] virtual bool has_ended(CallerId caller) = 0;
  /// Ends a link, and gives all payloads lent to it back. The caller is told the cause's code, as ranks are
  /// told those of others: timeout, corrupt_frame, version_mismatch, order_mismatch and non_finite are passed
  /// on, all else is peer_lost to it. Without a cause it is told goodbye, or peer_lost if that would hide
  /// that frames for it were not sent any more.
  virtual void drop(CallerId caller, const std::optional<Error>& cause) noexcept = 0;

  /// As in Endpoint; callers that come or go end a wait(), too.
  virtual void wait(Clock::time_point deadline) = 0;
  virtual void wake() noexcept = 0;
  /// Lets nobody in any more, says goodbye to all, and flushes.
  virtual void close(std::chrono::milliseconds patience) noexcept = 0;
};

/// Listens. Throws Error: invalid_argument, system (the port is in use).
std::unique_ptr<Service> open_service(const ServiceOptions& options);

/// Connects with a service: a world of two, in which the caller is rank 0 and the service rank 1. Tries again
/// until the timeout is over, for a service may start later than its callers. Throws Error: timeout (with
/// what went wrong last), version_mismatch (what listens there is another job's service, another version, or
/// a rank), invalid_argument, system. An Error that the endpoint is to abort() with names one of the two as
/// its peer, or nobody.
std::unique_ptr<Endpoint> call_service(const ServiceOptions& options);

}  // namespace gradwire::transport
