#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "base/aligned_vector.hpp"
#include "server/incoming_messages.hpp"
#include "server/outgoing_messages.hpp"
#include "server/server_state.hpp"

namespace gradwire::server {

/// What a server counts of the requests that it serves.
struct Tally {
  std::uint64_t pushes = 0;
  std::uint64_t repeated_pushes = 0;
  std::uint64_t refused_pushes = 0;
  std::uint64_t pulls = 0;
  std::uint64_t whole_pulls = 0;
};

/// A worker's connection as the server sees it: takes requests off it, one after the other, and answers them.
class Caller {
 public:
  struct Worker {
    std::uint32_t number = 0;
    std::uint64_t session = 0;

    friend bool operator==(const Worker&, const Worker&) = default;
  };

  Caller(ServerState& state, Tally& tally);

  /// Serves what has arrived; true when anything did. Throws Error when the connection has to end: what its
  /// peer sent makes no sense.
  bool serve(transport::Link& link, Time now);
  /// Nothing of it is read, for it is far ahead of the others.
  [[nodiscard]] bool is_held_back() const noexcept;
  /// Pulls of these shards that had to wait may be answered by the next serve().
  void shards_moved(const Moved& moved);
  /// Answers may leave for the first `keys` keys of the server.
  void keys_are_safe(std::size_t keys, transport::Link& link);
  [[nodiscard]] bool has_unsafe_keys() const noexcept { return !made_.empty(); }
  /// Whether all answers have left.
  [[nodiscard]] bool is_done() const noexcept { return out_.size() == 0; }
  /// The connection has ended.
  void over() noexcept;

  /// Who it is, once it has joined.
  [[nodiscard]] const std::optional<Worker>& who() const noexcept { return worker_; }
  /// Since when it has not said who it is; nothing once it has.
  [[nodiscard]] std::optional<Time> silent_since() const noexcept;

 private:
  void handle(Request request, Time now);
  void handle(const Join& join, Time now);
  void handle(const Pull& pull);
  /// Tells a worker that may be waiting for others that the server is there.
  void give_sign(Time now);
  void begin(const MakeKey& request);
  /// Takes what has arrived of a key's first value. True when it is whole.
  bool take_value(transport::Link& link);
  void begin(const Push& request);
  void finish_body();
  void finish_key();
  void finish_push();
  bool answer_pull(const Pull& pull);
  /// Looks at one pull, and answers it if it need not wait. False when there is none, or answers that the
  /// link has not taken are enough.
  bool answer_asked();
  void answer(const Answer& head);
  void refuse(Verb verb, std::uint64_t request, const Error& error);
  const Worker& worker() const;

  ServerState& state_;
  Tally& tally_;
  Time came_ = std::chrono::steady_clock::now();
  std::optional<Worker> worker_;
  bool just_joined_ = false;  ///< and has asked for nothing else so far
  std::shared_ptr<const compress::Codec> plain_;
  std::shared_ptr<const compress::Codec> push_codec_;
  std::shared_ptr<const compress::Codec> pull_codec_;

  IncomingMessages in_;
  OutgoingMessages out_;
  std::variant<std::monostate, MakeKey, Push> due_;  ///< whose body is arriving
  bool keeps_value_ = false;                         ///< of a key: that of one which is known is not needed
  base::AlignedVector<float> value_;
  Payload payload_;
  std::deque<Pull> asked_;                      ///< pulls to be looked at
  std::multimap<std::uint32_t, Pull> waiting_;  ///< those that have to wait, by shard
  std::vector<KeyMade> made_;                   ///< not yet answered
  std::uint64_t completed_ = 0;                 ///< of the link, when it was last looked at
  std::chrono::milliseconds sign_every_{};
  Time next_sign_{};
};

}  // namespace gradwire::server
