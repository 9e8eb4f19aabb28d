#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gradwire/consistency.hpp"
#include "gradwire/error.hpp"
#include "gradwire/export.hpp"
#include "gradwire/tensor.hpp"
#include "gradwire/work.hpp"

namespace gradwire {

/// How a server process serves.
struct ParameterServerOptions {
  std::string address = "127.0.0.1";  ///< "host" or "host:port" to listen at; without a port any free one
  std::string job = "default";        ///< clients and snapshots of other jobs are refused
  int index = 0;                      ///< of this server among `servers`
  int servers = 1;
  std::string transport = "auto";  ///< "auto" (shm for clients of this host), "shm", "tcp"
  std::string link_rate{};     ///< "100mbit": this server is a host behind a link of that rate; empty: off
  bool check_payload = false;  ///< checksums over shared memory too (tcp always has them)
  std::chrono::milliseconds lease{10'000};  ///< a worker unheard of for so long no longer holds back others
  std::uint32_t kept_versions = 16;         ///< sealed frames kept for pulls
  std::string snapshot_dir{};               ///< empty: none
  std::uint64_t snapshot_every = 100;       ///< clocks
};

/// What a server has done since it started.
struct ParameterServerReport {
  std::uint64_t pushes = 0;           ///< applied
  std::uint64_t repeated_pushes = 0;  ///< known already, acknowledged again
  std::uint64_t refused_pushes = 0;
  std::uint64_t pulls = 0;
  std::uint64_t whole_pulls = 0;  ///< of these, answered with the whole value
  std::uint64_t clock = 0;        ///< the least one of live workers
  std::uint64_t snapshots = 0;
  std::uint64_t incarnation = 0;
  /// What went wrong and did not end the server: snapshots that could not be written or read.
  std::vector<std::string> problems{};
  std::string restored_from{};  ///< the snapshot's file that it went on from; empty: it began with nothing
  std::uint64_t restored_clock = 0;
  std::uint64_t restored_keys = 0;  ///< that it has a part of
};

/// One server of a job: keys' values, their optimizers, and who may read them when. It serves from a thread
/// of its own until stop() or the end of the object. Thread-safe but for its construction and end.
/// docs/parameter-server.md tells the rules.
class GRADWIRE_EXPORT ParameterServer {
 public:
  /// Listens, and loads the last snapshot if there is one. Throws Error: invalid_argument, system (the port
  /// is in use, the snapshot cannot be read), corrupt_frame when no snapshot is whole, version_mismatch when
  /// it is another version's or job's.
  explicit ParameterServer(const ParameterServerOptions& options);
  ~ParameterServer();
  ParameterServer(ParameterServer&&) noexcept;
  ParameterServer& operator=(ParameterServer&&) noexcept;

  /// "host:port" for clients, with a numeric host.
  [[nodiscard]] std::string address() const;
  /// Serves what is under way, writes a snapshot where there is a folder for it, and ends. Throws Error: the
  /// one that ended the server before, if one did, and system when that snapshot could not be written. Who
  /// calls it again is told nothing more.
  void stop();
  /// False when it has ended, by stop() or by an error that stop() throws.
  [[nodiscard]] bool is_serving() const noexcept;
  [[nodiscard]] ParameterServerReport report() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

struct ParameterServerClientOptions {
  std::vector<std::string> servers{};  ///< "host:port" of each, in the order of their indices
  std::string job = "default";
  int worker = 0;   ///< from 0; one process at a time has a number
  int workers = 1;  ///< the servers wait for so many at the start of the job
  /// Where another process has the number, wait until it is free: that of one that died is when its lease is
  /// over. Otherwise that is an error at once.
  bool waits_for_number = false;
  Consistency consistency{};
  std::string push_codec = "none";
  std::string pull_codec = "none";
  /// What else the workers of a job have to agree on, in lines like "batch: 64", 1,000 bytes at most. The
  /// servers refuse a new one with others than those that are connected, and name the line.
  std::string settings{};
  std::string transport = "auto";
  std::string
      link_rate{};  ///< this worker is a host behind a link of that rate, shared by its servers; empty: off
  bool check_payload = false;                  ///< checksums over shared memory too (tcp always has them)
  std::chrono::milliseconds timeout{300'000};  ///< without progress, and for a server that is gone to return
  /// Is told once whenever a server that is waited for has given no sign of life for some seconds. A thread
  /// of the client calls it, which it must neither throw at nor keep.
  std::function<void(const std::string&)> notice{};
};

/// What a client has done since it was made. What it pushed and pulled is counted in shards: a key's parts on
/// its servers.
struct ParameterServerClientReport {
  std::uint64_t wire_bytes_sent = 0;  ///< headers and payloads
  std::uint64_t wire_bytes_received = 0;
  std::uint64_t pushes = 0;       ///< acknowledged
  std::uint64_t lost_pushes = 0;  ///< of these, lost by servers that were killed: those since their snapshots
  std::uint64_t pulls = 0;
  /// By how many clocks the servers' clock, up to which everything is visible, was behind this worker's when
  /// a pull was answered.
  std::uint64_t max_staleness = 0;
  double mean_staleness = 0;
};

/// What a key is on the servers.
struct KeyOptions {
  /// What the servers make of pushes: "sgd:lr=0.1", "momentum:lr=0.1,mu=0.9", "adagrad:lr=0.01",
  /// "adam:lr=0.001", "average" (pushes are models), "elastic:alpha=0.1" (pushes are differences from the
  /// value).
  std::string optimizer = "sgd:lr=0.1";
};

/// A worker's side of a job's servers. Every key is split into block-aligned shards over them. Thread-safe
/// like a Communicator, but for its construction and end. Buffers are lent until the Work completes. A server
/// that goes away is waited for, and what it had not acknowledged is sent again.
///
/// A call throws Error(invalid_argument) for what cannot be: a key that init() has not made, a tensor of
/// another size or type. A Work ends with Error, and so does a call that waits, as:
///
/// - peer_lost: the servers went on without this worker, whose lease was over. rejoin(), then pull; what was
///   refused of a push is in the residual, but with the codec "none" it is to be pushed again;
/// - invalid_argument: a push to a step that the worker has finished, or in step the 65th to a key in one
///   step. The next step takes it;
/// - timeout: a server did not answer, or other workers were not there, for all of the timeout;
/// - unsupported: a server came back without the keys that it had;
/// - what the constructor throws, where a server that came back does not let the worker in.
///
/// After one of the last three all that is asked of that server ends with the same Error at once: make a new
/// client. What is open when the client ends, ends with peer_lost.
class GRADWIRE_EXPORT ParameterServerClient {
 public:
  /// Connects and joins. Throws Error: timeout naming the servers that do not answer, version_mismatch,
  /// invalid_argument (options that differ from other workers', a number that is taken, a host that cannot be
  /// resolved), system.
  explicit ParameterServerClient(const ParameterServerClientOptions& options);
  /// Leaves once what was asked is answered, and waits at most 7 s for that. Every Work then has ended: what
  /// was not answered, with peer_lost. After waiting in vain it counts as dead: others wait for its lease.
  ~ParameterServerClient();
  ParameterServerClient(ParameterServerClient&&) noexcept;
  ParameterServerClient& operator=(ParameterServerClient&&) noexcept;

  /// Makes `key` known to the servers with this value, unless it is already: then `value` becomes theirs.
  /// Every worker does so before it pushes or pulls. Float32; a key's name has 1 to 255 bytes. Waits for the
  /// servers, and throws also Error(invalid_argument) when others gave another size or optimizer, and
  /// Error(non_finite), with nothing sent, for a value with a NaN or an infinity. A key whose init() has
  /// failed may be given again.
  void init(const std::string& key, Tensor value, const KeyOptions& options = {});

  /// Adds the gradient to this clock's pushes. Complete when every server concerned has taken it. Throws
  /// Error(non_finite), with all as it was, where a lossy codec meets a NaN or an infinity. What a server
  /// refuses goes into the residual, and with the next push of the key; with the codec "none" it is to be
  /// pushed again.
  [[nodiscard]] Work push(const std::string& key, Tensor gradient);
  /// Brings `out` up to what the consistency grants at this worker's clock; it may wait for other workers.
  /// `out` must hold what the last pull, or init(), left there, also where that pull failed: its values are
  /// unspecified then, and the next pull makes them whole. One pull of a key at a time.
  [[nodiscard]] Work pull(const std::string& key, Tensor out);
  /// Push, and pull what follows from it: the values of the next step. The key gets no further pushes in this
  /// step. In step it is complete once every worker has done the same, or called clock(). It fails when
  /// either does, and throws what they throw, with nothing sent. `gradient` and `out` may not overlap.
  [[nodiscard]] Work push_pull(const std::string& key, Tensor gradient, Tensor out);
  /// Ends this worker's step: its clock goes up by one. Does not wait. Throws the Error that ended the
  /// dealings with a server, after all others have been told.
  void clock();
  /// Waits until everything pushed is acknowledged, and throws the first Error of a push since the last
  /// flush(), also when somebody has waited for that push.
  void flush();
  /// After a request was refused with peer_lost because the lease was over: takes part again, from the
  /// servers' clock on. Keys stay known, and pulls bring what the servers have. Throws Error as the
  /// constructor does: invalid_argument where another process has the worker's number now.
  void rejoin();

  /// Steps that this worker has finished, at least what the servers granted when it joined.
  [[nodiscard]] std::uint64_t now() const noexcept;
  [[nodiscard]] ParameterServerClientReport report() const noexcept;
  /// What encoding pushes of `key` has lost so far, and what was refused of them; empty without loss.
  [[nodiscard]] std::vector<float> residual(const std::string& key) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gradwire
