#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gradwire/error.hpp"
#include "gradwire/store.hpp"
#include "wire/header.hpp"

namespace gradwire::transport {

using Clock = std::chrono::steady_clock;

class MpiGroup;

/// A received frame; its payload is lent until pop().
struct Frame {
  wire::Header header;
  std::span<const std::byte> payload;
};

/// Both directions between this rank and one peer: two queues of frames, first in, first out, each bounded.
/// Not thread-safe; nothing here blocks.
class Link {
 public:
  virtual ~Link() = default;

  /// Queues a frame, or returns false when the queue is full. Once accepted, `payload` is lent until
  /// completed() has counted the frame; the header is copied. At most wire::kMaxPayload bytes. The link sets
  /// payload_bytes, and the payload's CRC where it carries one. Throws Error(peer_lost) when the peer is
  /// gone.
  virtual bool try_send(const wire::Header& header, std::span<const std::byte> payload) = 0;

  /// How many accepted frames no longer need their payloads. With mpi that may take the peer's calls, too.
  [[nodiscard]] virtual std::uint64_t completed() const noexcept = 0;

  /// The oldest received data or message frame, or nullptr when none has arrived.
  /// Throws Error: corrupt_frame, version_mismatch, peer_lost (also what an abort frame or a goodbye becomes
  /// once all data before it has been taken).
  virtual const Frame* front() = 0;

  /// Gives the front's payload back.
  virtual void pop() = 0;

  /// Headers and payloads handed to the wire so far.
  [[nodiscard]] virtual std::uint64_t wire_bytes_sent() const noexcept = 0;

  /// One of kTransports.
  [[nodiscard]] virtual const char* kind() const noexcept = 0;
};

/// The slowest and the fastest link that can be emulated, in bytes a second: 1 kbit/s and 10 Tbit/s.
inline constexpr double kMinLinkRate = 1e3 / 8;
inline constexpr double kMaxLinkRate = 1e13 / 8;

/// All that EndpointOptions::kind may name besides "auto"; available_transports() are those of this build.
inline constexpr std::array<std::string_view, 5> kTransports{"shm", "tcp", "mpi", "ucx", "inproc"};
[[nodiscard]] std::vector<std::string> available_transports();

struct EndpointOptions {
  int rank = 0;
  int world_size = 1;
  std::string job;                 ///< names the job; peers of another job are refused in the hello
  std::uint32_t communicator = 0;  ///< id that every frame carries, the same on all ranks
  std::string kind = "auto";  ///< one of kTransports, or "auto": shm for local peers, for others mpi or tcp
  /// Whom MPI connects: makes auto choose mpi. Null with "mpi": all processes of this one's job.
  std::shared_ptr<MpiGroup> mpi{};
  std::string interface;         ///< network interface or address for tcp; empty: loopback
  int connections_per_peer = 1;  ///< tcp only; frames are striped over them and delivered in order
  double link_rate = 0;          ///< bytes a second each way, for emulating a slow link; 0: none
  std::chrono::milliseconds timeout{300'000};  ///< for connecting
  /// Checksum payloads on shm, inproc, and ucx within a host, too; on tcp, and ucx between hosts, always.
  bool check_payload = false;
  std::string host_id;  ///< ranks with the same one count as local; empty: boot id and network namespace
};

/// All links of one rank. Not thread-safe but for wake().
class Endpoint {
 public:
  virtual ~Endpoint() = default;

  /// The link to `peer`; never called with this rank itself.
  [[nodiscard]] virtual Link& link(int peer) = 0;

  /// [rank]: the number of its host, numbers from 0 in the order of the hosts' first ranks; empty where
  /// nobody asks, or all have one of their own.
  [[nodiscard]] virtual const std::vector<int>& hosts() const noexcept = 0;

  /// Moves bytes without blocking; true when anything moved. Throws Error when a peer died (no goodbye), sent
  /// an abort, or sent garbage, whichever link it was.
  virtual bool progress() = 0;

  /// Sleeps until bytes may move, wake() is called, or the deadline passes. Spins first where that pays.
  virtual void wait(Clock::time_point deadline) = 0;

  /// Ends a wait() from any thread.
  virtual void wake() noexcept = 0;

  /// Throws Error(unsupported) where only threads of the user's may call the others.
  virtual void allow_background() const {}

  /// After `cause` ended an operation: tells every peer who is to blame, drains what peers say about it,
  /// closes all links, and returns the error to report: the same, or a better one naming the rank that really
  /// died. Takes at most a second.
  virtual Error abort(const Error& cause) noexcept = 0;

  /// Says goodbye to all peers and flushes, for at most `patience`.
  virtual void close(std::chrono::milliseconds patience) noexcept = 0;
};

/// Throws Error(invalid_argument) for options that no endpoint can have; connect() begins with it.
void check(const EndpointOptions& options);

/// Connects all ranks with each other: publishes this rank's addresses in `store` under keys that begin with
/// "gradwire/<job>/<communicator>/", and waits for everybody. With world_size 1 nothing is published.
/// Throws Error: timeout (naming the missing ranks), version_mismatch, invalid_argument, system.
std::unique_ptr<Endpoint> connect(const EndpointOptions& options, Store& store);

/// "100mbit", "1gbit", "12.5MB" (bytes), "2.5gbit" to bytes a second, within the limits of a link rate.
/// Throws Error(invalid_argument).
double parse_rate(const std::string& text);

}  // namespace gradwire::transport
