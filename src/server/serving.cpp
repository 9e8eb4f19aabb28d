#include "server/serving.hpp"

#include <algorithm>
#include <new>
#include <utility>
#include <vector>

#include "base/random_bits.hpp"
#include "server/service_options.hpp"

namespace gradwire::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// How long a caller has for saying who it is, and a worker that asked for something for taking the answer at
/// the end.
constexpr seconds kSilence{10};
constexpr seconds kLastAnswers{5};
/// How often a server without anything to do looks after what only time changes.
constexpr milliseconds kLookAround{250};
/// While a snapshot is being written that answers wait for.
constexpr milliseconds kLookForSnapshot{2};
/// After a snapshot could not be written.
constexpr seconds kTryAgain{5};
constexpr milliseconds kShortestLease{10};
/// Whoever asks for more means for ever; workers are told it in 32 bits.
constexpr milliseconds kLongestLease = std::chrono::hours(24 * 40);
/// Rounds further apart than that, or than half a lease, were a pause of the whole process.
constexpr seconds kPause{1};

ServerStateOptions state_options(const ParameterServerOptions& options, std::uint64_t incarnation) {
  if (options.servers < 1 || options.index < 0 || options.index >= options.servers) {
    throw Error(ErrorCode::invalid_argument,
                "server " + std::to_string(options.index) + " of " + std::to_string(options.servers),
                "servers are numbered from 0");
  }
  if (options.lease < kShortestLease) {
    throw Error(ErrorCode::invalid_argument, "a lease of less than 10 ms",
                "pass a time in which a beat arrives for sure: seconds");
  }
  if (options.snapshot_every < 1) {
    throw Error(ErrorCode::invalid_argument, "a snapshot every 0 clocks", "pass 1 or more");
  }
  ServerStateOptions state;
  state.index = static_cast<std::uint32_t>(options.index);
  state.servers = static_cast<std::uint32_t>(options.servers);
  state.job = options.job;
  state.lease = std::min(options.lease, kLongestLease);
  state.kept_versions = options.kept_versions;
  state.incarnation = incarnation;
  return state;
}

}  // namespace

Serving::Serving(const ParameterServerOptions& options)
    : options_(options), incarnation_(base::random_bits()), state_(state_options(options, incarnation_)) {
  if (!options.snapshot_dir.empty()) {
    SnapshotFolder folder(options.snapshot_dir, static_cast<std::uint32_t>(options.index));
    restore(folder.latest());
    safe_keys_ = keys_written_ = state_.keys();
    all_joined_written_ = state_.have_all_joined();
    snapshots_.emplace(std::move(folder));
    next_snapshot_ = state_.clock() + std::min(options.snapshot_every, kMaxClock);
  }
  service_ = transport::open_service(service_options(options, options.address));
  report_.incarnation = incarnation_;
  report_.clock = state_.clock();
}

void Serving::restore(const LatestSnapshot& latest) {
  if (!latest.snapshot && !latest.skipped.empty()) {
    throw Error(
        ErrorCode::corrupt_frame,
        "no snapshot in " + options_.snapshot_dir + " is whole: the last one, " + latest.skipped[0].reason,
        "restore one from a copy, or begin anew in an empty folder");
  }
  for (const auto& skipped : latest.skipped) {
    report_.problems.push_back(skipped.reason + ", so it was skipped");
  }
  if (!latest.snapshot) return;
  state_.restore(latest.snapshot->bytes, latest.path.string(), std::chrono::steady_clock::now());
  report_.restored_from = latest.path.string();
  report_.restored_clock = state_.clock();
  report_.restored_keys = state_.keys();
}

void Serving::stop() noexcept {
  stop_.store(true);
  service_->wake();
}

ParameterServerReport Serving::report() const {
  const std::lock_guard lock(report_mutex_);
  return report_;
}

void Serving::run() {
  try {
    serve_until_stopped();
  } catch (const std::bad_alloc&) {
    service_->close(kLastAnswers);
    throw Error(no_memory_to_serve_);
  } catch (...) {
    // Workers wait for the next server there, instead of for one that says nothing.
    service_->close(kLastAnswers);
    throw;
  }
}

void Serving::serve_until_stopped() {
  Time end = Time::max();
  Time last_round = std::chrono::steady_clock::now();
  while (true) {
    bool moved = service_->progress();
    const Time now = std::chrono::steady_clock::now();
    if (now - last_round > std::max<milliseconds>(options_.lease / 2, kPause)) state_.renew_leases(now);
    last_round = now;
    for (const auto id : service_->arrivals()) {
      callers_.try_emplace(id, state_, tally_);
    }
    moved = serve_all(now) || moved;
    forget_departed();
    drop_silent(now);
    if (now >= state_.next_expiry()) state_.expire(now);
    if (const Moved shards = state_.take_moved(); shards.all || !shards.shards.empty()) {
      for (auto& [id, caller] : callers_) caller.shards_moved(shards);
      moved = true;
    }
    keep_snapshots(now);
    publish_report();
    if (stop_.load()) {
      if (end == Time::max()) end = now + kLastAnswers;
      const bool done = std::ranges::all_of(callers_, [](const auto& it) { return it.second.is_done(); });
      if ((done && !moved) || now >= end) break;
    }
    if (moved) continue;

    const bool waits =
        std::ranges::any_of(callers_, [](const auto& it) { return it.second.has_unsafe_keys(); });
    service_->wait(
        std::min(now + (waits || stop_.load() ? kLookForSnapshot : kLookAround), state_.next_expiry()));
  }
  write_last_snapshot();
  publish_report();
  service_->close(kLastAnswers);
  if (const std::string problem = snapshot_problem(); !problem.empty()) {
    throw Error(ErrorCode::system,
                "server " + std::to_string(options_.index) +
                    " ended without its last snapshot, and what it took since the one before is lost (" +
                    problem + ")",
                "mend that before it is started again: it goes on from the one before");
  }
}

template <typename F>
void Serving::for_each_caller(F&& f) {
  for (auto it = callers_.begin(); it != callers_.end();) {
    // end() erases it.
    auto& [id, caller] = *it++;
    try {
      f(id, caller);
    } catch (const Error& error) {
      end(id, error);
    } catch (const std::bad_alloc&) {
      end(id, no_memory_);
    }
  }
}

bool Serving::serve_all(Time now) {
  bool moved = false;
  std::vector<transport::CallerId> joined;
  for_each_caller([&](transport::CallerId id, Caller& caller) {
    // What it left unread was never acknowledged, and would hold its number as long as it lies there.
    if (caller.is_held_back() && service_->has_ended(id)) {
      throw Error(ErrorCode::peer_lost, "the worker's connection ended while it was far ahead of the others",
                  "connect again");
    }
    const bool was_known = caller.who().has_value();
    moved = caller.serve(service_->link(id), now) || moved;
    if (caller.who() && !was_known) joined.push_back(id);
  });
  for (const auto id : joined) keep_latest_of(id);
  return moved;
}

void Serving::keep_latest_of(transport::CallerId joined) {
  const auto found = callers_.find(joined);
  if (found == callers_.end()) return;  // Another one of its session has joined in the same round.
  const auto who = found->second.who();
  const auto is_its = [&](const auto& it) { return it.second.who() == who; };
  const auto latest = std::find_if(callers_.rbegin(), callers_.rend(), is_its)->first;
  for (auto it = callers_.begin(); it != callers_.end();) {
    const auto& [id, caller] = *it++;
    if (id == latest || caller.who() != who) continue;
    end(id, Error(ErrorCode::peer_lost, "the worker has another connection now", "use that one"));
  }
}

void Serving::end(transport::CallerId id, const Error& cause) {
  service_->drop(id, cause);
  const auto caller = callers_.find(id);
  caller->second.over();
  callers_.erase(caller);
}

void Serving::forget_departed() {
  for (const auto& departure : service_->departures()) {
    const auto caller = callers_.find(departure.caller);
    if (caller == callers_.end()) continue;
    caller->second.over();
    callers_.erase(caller);
  }
}

void Serving::drop_silent(Time now) {
  for (auto it = callers_.begin(); it != callers_.end();) {
    const auto& [id, caller] = *it++;
    const auto since = caller.silent_since();
    if (!since || now - *since < kSilence) continue;
    end(id, Error(ErrorCode::timeout, "a caller did not say who it is", "join first"));
  }
}

void Serving::keep_snapshots(Time now) {
  const bool is_busy = snapshots_ && snapshots_->is_busy();
  // Where there is no writing them, training goes on all the same, and the report says so.
  if (!is_busy) safe_keys_ = snapshots_ ? keys_written_ : state_.keys();
  for_each_caller([&](transport::CallerId id, Caller& caller) {
    if (caller.has_unsafe_keys()) caller.keys_are_safe(safe_keys_, service_->link(id));
  });
  if (!snapshots_ || is_busy) return;
  const std::string problem = snapshot_problem();
  const bool failed = !problem.empty();
  if (failed) note_problem(problem);
  if (!failed) try_again_ = Time::max();
  if (failed && try_again_ == Time::max()) try_again_ = now + kTryAgain;
  // A server that goes on from before all had joined would wait for them once more, whoever is gone by then.
  const bool all_joined = state_.have_all_joined();
  const bool is_new =
      keys_written_ != state_.keys() || (state_.keys() > 0 && all_joined_written_ != all_joined);
  if (state_.clock() < next_snapshot_ && !is_new && now < try_again_) return;
  next_snapshot_ = state_.clock() + std::min(options_.snapshot_every, kMaxClock);
  keys_written_ = state_.keys();
  all_joined_written_ = all_joined;
  try_again_ = Time::max();
  start_snapshot();
}

void Serving::start_snapshot() {
  save_problem_.clear();
  try {
    snapshots_->start({state_.clock(), incarnation_, state_.save()});
  } catch (const std::bad_alloc&) {
    save_problem_ = "there was no memory for a snapshot; spread the keys over more servers";
  }
}

std::string Serving::snapshot_problem() const {
  if (!snapshots_) return {};
  return save_problem_.empty() ? snapshots_->problem() : save_problem_;
}

void Serving::write_last_snapshot() {
  if (!snapshots_) return;
  snapshots_->wait();
  start_snapshot();
  snapshots_->wait();
}

void Serving::publish_report() {
  const std::lock_guard lock(report_mutex_);
  report_.pushes = tally_.pushes;
  report_.repeated_pushes = tally_.repeated_pushes;
  report_.refused_pushes = tally_.refused_pushes;
  report_.pulls = tally_.pulls;
  report_.whole_pulls = tally_.whole_pulls;
  report_.clock = state_.clock();
  if (snapshots_) report_.snapshots = snapshots_->written();
}

void Serving::note_problem(const std::string& problem) {
  const std::lock_guard lock(report_mutex_);
  const bool is_known = std::ranges::find(report_.problems, problem) != report_.problems.end();
  if (!is_known) report_.problems.push_back(problem);
}

}  // namespace gradwire::server
