// A session's connections: it calls, serves one until it ends, and calls again.

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/float_mode.hpp"
#include "server/client_session.hpp"
#include "server/service_options.hpp"
#include "transport/service.hpp"

namespace gradwire::server {
namespace {

using std::chrono::milliseconds;

/// How long a session that ends waits for what was pushed to be acknowledged.
constexpr std::chrono::seconds kLastWords{5};
constexpr milliseconds kFlush{1000};
/// A call cannot be broken off: this long the end of a session may have to wait for it.
constexpr milliseconds kOneCall{1000};
/// After so much silence at least is the user told.
constexpr milliseconds kSilence{2000};

/// Whether trying again cannot help.
bool is_final(const Error& error) noexcept {
  return error.code() != ErrorCode::peer_lost && error.code() != ErrorCode::corrupt_frame &&
         error.code() != ErrorCode::system;
}

/// As the user knows it: what the link calls its peer is this server, and so is who lets no other job or
/// version in.
Error of_server(const Error& error, int server) {
  return error.peer() || error.code() == ErrorCode::version_mismatch ? error.with_peer(server) : error;
}

}  // namespace

void ClientSession::run() noexcept {
  const base::FloatMode float_mode;
  try {
    serve();
    fail(Error(ErrorCode::peer_lost, fmt::format("this client of {} has ended", name()),
               "wait for what was asked before the client's end", server_));
  } catch (const Error& error) {
    fail(of_server(error, server_));
  } catch (const std::exception& error) {
    fail(Error(ErrorCode::system, error.what(), "free memory, or use fewer keys"));
  }
}

void ClientSession::serve() {
  while (true) {
    try {
      return serve_connection();
    } catch (const Error& error) {
      if (ending_.load() || is_final(error)) throw;
      patience_.connection_lost(error.what());
      tell_if_silent(Clock::now(), patience_.lost_by());
      if (patience_.is_over(Clock::now())) throw unanswered(patience_.lost_by());
    }
    pause_before_calling();
  }
}

/// A server may turn us away for the same request again and again.
void ClientSession::pause_before_calling() {
  std::unique_lock lock(mutex_);
  awake_ = nullptr;
  changed_.wait_for(lock, patience_.take_pause(), [this] { return ending_.load(); });
}

void ClientSession::call() {
  {
    const std::lock_guard lock(mutex_);
    awake_ = nullptr;
  }
  // The link may read what it was lent until it is gone.
  endpoint_.reset();
  out_.emplace(Side::worker);
  in_.emplace(Side::server, name());
  if (arriving_) {
    // Its answer was cut short: it is asked for again.
    requests_.emplace(number_of(arriving_->head), arriving_);
    arriving_.reset();
  }
  is_joined_ = false;
  patience_.begin_connection();
  beat_bytes_ = 0;
  next_beat_ = Clock::time_point::max();
  auto service = service_options(options_, options_.servers[static_cast<std::size_t>(server_)]);
  service.shared_link = link_;
  service.timeout = std::min<milliseconds>(options_.timeout, kOneCall);
  while (!endpoint_) {
    try {
      endpoint_ = transport::call_service(service);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::timeout || ending_.load()) throw;
      turned_away_.reset();
      const auto now = Clock::now();
      tell_if_silent(now, error.what());
      if (patience_.is_over(now)) throw unanswered(error.what());
    }
  }
  const std::lock_guard lock(mutex_);
  awake_ = endpoint_.get();
}

void ClientSession::serve_connection() {
  call();
  join();
  auto& link = endpoint_->link(kServerRank);
  const std::uint64_t sent_before = bytes_sent_.load();
  auto leave_by = Clock::time_point::max();
  bool has_left = false;
  while (true) {
    bool moved = endpoint_->progress();
    const std::uint64_t received_before = bytes_received_.load();
    moved = take_answers() || moved;
    const bool was_asking = is_asking();
    // Asked before the last submissions are taken: there are no others behind the goodbye.
    const bool is_ending = ending_.load();
    if (is_joined_) moved = take_submissions() || moved;
    const auto now = Clock::now();
    if (bytes_received_.load() != received_before) patience_.note_heard(now);
    if (is_joined_) send_beat(now);
    out_->pump(link);
    note_sent(sent_before + link.wire_bytes_sent());
    if (rejoin_asked_.exchange(false)) {
      throw Error(ErrorCode::peer_lost, "this worker joins once more", "nothing needs to be done");
    }
    if (is_ending) {
      if (leave_by == Clock::time_point::max()) leave_by = now + kLastWords;
      const bool is_done = pushes_.empty() && requests_.empty() && !arriving_ && out_->size() == 0;
      if (has_left && is_done) break;
      if (now >= leave_by) break;
      if (is_done && is_joined_) {
        out_->add({write_request(Leave{})});
        has_left = true;
        moved = true;
      }
    }
    if (!was_asking) {
      patience_.note_idle(now);
    } else {
      if (now >= tell_at()) tell_if_silent(now, state_of_server(now));
      if (patience_.is_over(now)) throw unanswered(state_of_server(now));
    }
    const auto tell_by = was_asking ? tell_at() : Clock::time_point::max();
    if (!moved) endpoint_->wait(std::min({next_beat_, leave_by, patience_.end(), tell_by}));
  }
  const std::lock_guard lock(mutex_);
  awake_ = nullptr;
  endpoint_->close(kFlush);
}

bool ClientSession::is_asking() const noexcept {
  return !is_joined_ || !pushes_.empty() || !requests_.empty() || arriving_;
}

Error ClientSession::unanswered(const std::string& why) const {
  if (turned_away_) return *turned_away_;
  return {ErrorCode::timeout,
          fmt::format("{} did not answer worker {} for {:g} s ({})", name(), options_.worker,
                      std::chrono::duration<double>(options_.timeout).count(), why),
          "see what the servers and the other workers say, or raise the timeout", server_};
}

std::string ClientSession::state_of_server(Clock::time_point now) const {
  const auto silence = now - patience_.silent_since();
  const double seconds = std::chrono::duration<double>(silence).count();
  if (is_joined_ && silence >= longest_silence()) {
    return fmt::format(
        "it gave its last sign of life {:.1f} s ago: it hangs or was stopped, or the network is cut",
        seconds);
  }
  if (!patience_.lost_by().empty()) return patience_.lost_by();
  if (!is_joined_)
    return fmt::format("it took the connection, and has not let this worker in for {:.1f} s", seconds);
  return fmt::format("it gave a sign of life {:.1f} s ago, so it waits: for another worker, most likely",
                     seconds);
}

std::chrono::milliseconds ClientSession::longest_silence() const noexcept {
  return is_joined_ ? std::max(kSilence, 2 * beat_every_) : kSilence;
}

ClientSession::Clock::time_point ClientSession::tell_at() const noexcept {
  if (!options_.notice || ending_.load()) return Clock::time_point::max();
  return patience_.tell_at(longest_silence());
}

void ClientSession::tell_if_silent(Clock::time_point now, const std::string& why) {
  if (now < tell_at()) return;
  patience_.note_told();
  options_.notice(fmt::format(
      "worker {} has been waiting for {} for {:.1f} s, and does so for {:g} s at most ({})", options_.worker,
      name(), std::chrono::duration<double>(now - patience_.silent_since()).count(),
      std::chrono::duration<double>(options_.timeout).count(), why));
}

void ClientSession::fail(const Error& error) noexcept {
  std::deque<std::shared_ptr<ClientRequest>> unsent;
  {
    const std::lock_guard lock(mutex_);
    failure_ = error;
    awake_ = nullptr;
    unsent.swap(submitted_);
    changed_.notify_all();
  }
  // The link may read what it was lent until it is gone.
  endpoint_.reset();
  for (const auto* never_sent : {&fresh_, &unsent}) {
    for (const auto& request : *never_sent) request->refuse(error);
  }
  fresh_.clear();
  for (auto* unanswered : {&pushes_, &requests_}) {
    for (const auto& [number, request] : *unanswered) request->operation->fail_one(error);
    unanswered->clear();
  }
  if (arriving_) arriving_->operation->fail_one(error);
  arriving_.reset();
}

}  // namespace gradwire::server
