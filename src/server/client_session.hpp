#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "gradwire/parameter_server.hpp"
#include "server/client_patience.hpp"
#include "server/client_request.hpp"
#include "server/incoming_messages.hpp"
#include "server/outgoing_messages.hpp"
#include "transport/service.hpp"

namespace gradwire::server {

/// A worker's dealings with one server: a thread that connects, asks, and takes the answers; connects again
/// when the server went away, and asks again for what it has not answered.
class ClientSession {
 public:
  using Clock = transport::Clock;

  /// `link` is the client's emulated one, null without.
  ClientSession(const ParameterServerClientOptions& options, int server, std::uint64_t session,
                std::shared_ptr<transport::LinkRate> link);
  /// Returns when the session has ended, as after end(). What is still unanswered then fails.
  ~ClientSession();
  ClientSession(const ClientSession&) = delete;
  ClientSession& operator=(const ClientSession&) = delete;

  /// The clock that the server gave this worker, once it has. Throws the Error that keeps it from joining.
  std::uint64_t wait_until_joined();
  /// Numbers a request and sends it after all that was submitted before. When the session has ended, the
  /// request fails as it did.
  void submit(std::shared_ptr<ClientRequest> request);
  /// This worker has finished all steps below `clock`. Throws what ended the session.
  void advance(std::uint64_t clock);
  /// After the lease was over: joins once more. wait_until_joined() tells the result.
  void rejoin();
  /// Says goodbye once what was submitted has been answered, or after a few seconds. Returns at once.
  void end() noexcept;

  /// Adds what this session has done; mean_staleness becomes a sum.
  void add_to(ParameterServerClientReport& report) const noexcept;

 private:
  static constexpr int kServerRank = 1;  ///< of the two that a connection connects

  void run() noexcept;
  /// Until it ends well; throws what ended it otherwise.
  void serve();
  void pause_before_calling();
  /// One connection, from the call to its end. Throws the Error that ended it; returns when the session ends.
  void serve_connection();
  void call();
  void join();
  bool take_submissions();
  bool take_answers();
  void handle(const Joined& joined);
  void handle(const KeyMade& made);
  void handle(const Pulled& pulled);
  void handle(const Accepted& accepted);
  void handle(const Refused& refused);
  bool take_body();
  void finish_body();
  /// A restarted server knows the pushes up to this one.
  void note_lost_after(std::uint64_t known);
  void note_staleness(std::uint64_t clock, std::uint64_t servers_clock) noexcept;
  void repeat_unanswered(const Joined& joined);
  [[nodiscard]] bool is_asking() const noexcept;
  void note_sent(std::uint64_t bytes) noexcept;
  void send(const ClientRequest& request);
  /// Whether it belongs to a step that the servers did without this worker.
  [[nodiscard]] bool is_late(const ClientRequest& request) const noexcept;
  void refuse_late(const ClientRequest& request);
  void send_beat(Clock::time_point now);
  void fail(const Error& error) noexcept;
  [[nodiscard]] std::string name() const;
  [[nodiscard]] Error unanswered(const std::string& why) const;
  /// What is known of a server that has taken the connection and does not answer what it was asked.
  [[nodiscard]] std::string state_of_server(Clock::time_point now) const;
  /// How long a server that lives may give no sign of it.
  [[nodiscard]] std::chrono::milliseconds longest_silence() const noexcept;
  /// When the user is to be told of a silence.
  [[nodiscard]] Clock::time_point tell_at() const noexcept;
  void tell_if_silent(Clock::time_point now, const std::string& why);

  const ParameterServerClientOptions options_;
  const int server_;
  const std::uint64_t session_;
  const std::shared_ptr<transport::LinkRate> link_;
  const std::shared_ptr<const compress::Codec> plain_;
  const std::shared_ptr<const compress::Codec> push_codec_;
  const std::shared_ptr<const compress::Codec> pull_codec_;

  // Shared between threads, under the mutex.
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<ClientRequest>> submitted_;
  std::optional<std::uint64_t> granted_clock_;  ///< by the last join
  std::optional<Error> failure_;
  std::uint64_t last_sequence_ = 0;
  std::uint64_t last_request_ = 0;
  transport::Endpoint* awake_ = nullptr;  ///< to be woken, while there is one

  std::atomic<bool> has_submissions_{false};
  std::atomic<bool> ending_{false};
  std::atomic<bool> rejoin_asked_{false};
  std::atomic<std::uint64_t> bytes_sent_{0};
  std::atomic<std::uint64_t> bytes_received_{0};
  std::atomic<std::uint64_t> pushes_taken_{0};
  std::atomic<std::uint64_t> lost_pushes_{0};
  std::atomic<std::uint64_t> pulls_done_{0};
  std::atomic<std::uint64_t> max_staleness_{0};
  std::atomic<std::uint64_t> staleness_sum_{0};

  // The thread's.
  std::deque<std::shared_ptr<ClientRequest>> fresh_;  ///< taken, and not among the unanswered yet
  std::unique_ptr<transport::Endpoint> endpoint_;
  std::optional<IncomingMessages> in_;
  std::optional<OutgoingMessages> out_;
  std::map<std::uint64_t, std::shared_ptr<ClientRequest>> pushes_;    ///< unanswered, by sequence number
  std::map<std::uint64_t, std::shared_ptr<ClientRequest>> requests_;  ///< the others, by number
  std::shared_ptr<ClientRequest> arriving_;                           ///< whose answer's body is arriving
  std::optional<Pulled> arriving_pull_;
  bool is_joined_ = false;
  std::optional<Error> turned_away_;  ///< why, by the last answer to a join
  std::uint64_t incarnation_ = 0;
  std::uint64_t origin_ = 0;         ///< of the server's values
  std::uint64_t accepted_ = 0;       ///< the last push that the server has acknowledged
  std::uint64_t lost_up_to_ = 0;     ///< and the last that had been when it was restarted
  std::set<std::uint64_t> refused_;  ///< pushes after that, by the server or before they were sent
  std::uint64_t told_clock_ = 0;
  std::uint64_t joined_clock_ = 0;  ///< this worker's when it joined last
  std::uint64_t missed_below_ = 0;  ///< the first step since the servers went on without it
  std::uint64_t known_shards_ = 0;  ///< that the server has at least
  std::chrono::milliseconds beat_every_{};
  Clock::time_point next_beat_ = Clock::time_point::max();  ///< once it has joined
  std::uint64_t beat_bytes_ = 0;                            ///< of beats that have not been sent yet
  ClientPatience patience_;
  std::thread thread_;
};

}  // namespace gradwire::server
