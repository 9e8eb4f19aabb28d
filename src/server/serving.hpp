#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "gradwire/parameter_server.hpp"
#include "server/caller.hpp"
#include "server/server_state.hpp"
#include "server/snapshot_writer.hpp"
#include "transport/service.hpp"

namespace gradwire::server {

/// A server at work: lets workers in, serves them in turn, and writes snapshots. One thread calls run(); any
/// may call the rest.
class Serving {
 public:
  /// Listens, and loads the last snapshot. Throws Error.
  explicit Serving(const ParameterServerOptions& options);

  /// Until stop(). Throws the Error that ends it: of the system, never of a worker. When all has been served
  /// that can be a last snapshot that could not be written.
  void run();
  /// What has been asked for is still answered, and what is known goes into a last snapshot.
  void stop() noexcept;

  [[nodiscard]] std::string address() const { return service_->address(); }
  [[nodiscard]] ParameterServerReport report() const;

 private:
  void serve_until_stopped();
  /// Ends those for which f(id, caller) throws.
  template <typename F>
  void for_each_caller(F&& f);
  bool serve_all(Time now);
  void end(transport::CallerId id, const Error& cause);
  /// What is still under way on a worker's earlier connections is repeated on its latest: ends all others of
  /// the session that has just joined on this one.
  void keep_latest_of(transport::CallerId joined);
  void forget_departed();
  void drop_silent(Time now);
  void keep_snapshots(Time now);
  void start_snapshot();
  /// Why the last snapshot is not there; empty when it is.
  [[nodiscard]] std::string snapshot_problem() const;
  void write_last_snapshot();
  void restore(const LatestSnapshot& latest);
  void publish_report();
  void note_problem(const std::string& problem);

  const ParameterServerOptions options_;
  /// Made while there was some.
  const Error no_memory_{ErrorCode::system, "there is no memory for what a worker asked for",
                         "spread the keys over more servers"};
  const Error no_memory_to_serve_{ErrorCode::system, "there is no memory for a server to go on",
                                  "start it again, with fewer keys"};
  const std::uint64_t incarnation_;
  std::unique_ptr<transport::Service> service_;
  ServerState state_;
  std::optional<SnapshotWriter> snapshots_;
  std::map<transport::CallerId, Caller> callers_;
  Tally tally_;
  std::size_t safe_keys_ = 0;        ///< so many of the first ones may be answered for
  std::size_t keys_written_ = 0;     ///< by the last snapshot, or that under way
  bool all_joined_written_ = false;  ///< the same, of whether all had joined
  std::uint64_t next_snapshot_ = 0;  ///< clock
  Time try_again_ = Time::max();     ///< after one that could not be written
  std::string save_problem_;         ///< why there was none to write
  std::atomic<bool> stop_{false};
  mutable std::mutex report_mutex_;
  ParameterServerReport report_;
};

}  // namespace gradwire::server
