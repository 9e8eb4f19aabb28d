// Random histories of workers that join, push, pull, die and come back, against a model of the rules: no read
// is too stale or misses what it should hold, no push counts twice or gets lost, nobody waits for too long.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "../support/quick.hpp"
#include "gradwire/error.hpp"
#include "history_model.hpp"
#include "history_process.hpp"
#include "history_reads.hpp"
#include "server_calls.hpp"

namespace gradwire::server {
namespace {

constexpr std::int64_t kLease = 100;
constexpr int kActions = 150;

class History {
 public:
  explicit History(std::uint32_t seed) : random_(seed), workers_(2 + below(5)), state_({}) {
    constexpr Consistency::Mode kBsp = Consistency::Mode::bsp;
    const std::vector<Consistency> modes{{kBsp},
                                         {kBsp},
                                         {Consistency::Mode::ssp, 0},
                                         {Consistency::Mode::ssp, 1},
                                         {Consistency::Mode::ssp, 2},
                                         {Consistency::Mode::ssp, 3},
                                         {Consistency::Mode::asp}};
    model_.consistency = modes[below(modes.size())];
    model_.job_workers = workers_;
    model_.lease = kLease;
    for (std::uint32_t shard = 0; shard < kShards; ++shard) model_.last_shard_clock[shard] = 0;
    push_spec_ = below(2) == 0 ? "none" : "bf16";
    pull_spec_ = std::vector<std::string>{"none", "bf16", "onebit:block=32"}[below(3)];
    push_codec_ = compress::make_codec(push_spec_);
    pull_codec_ = compress::make_codec(pull_spec_);
    kept_ = 1 + below(3);
    state_ = fresh_state();
    processes_.resize(workers_ + 1);  // one more than the job began with may come
  }

  void run() {
    for (int i = 0; i < kActions; ++i) {
      act();
      check_clock();
      retry_waiting();
      check_clock();
    }
  }

  [[nodiscard]] std::string describe() const {
    return fmt::format("{} with {} workers, push {}, pull {}, {} kept", to_string(model_.consistency),
                       workers_, push_spec_, pull_spec_, kept_);
  }

  std::uint64_t pulls = 0;
  std::uint64_t sealed_pulls = 0;
  std::uint64_t waits = 0;
  std::uint64_t refusals = 0;
  std::uint64_t repeats = 0;

 private:
  std::uint32_t below(std::size_t bound) { return static_cast<std::uint32_t>(random_() % bound); }

  ServerState fresh_state() {
    return ServerState(
        {.lease = std::chrono::milliseconds(kLease), .kept_versions = kept_, .incarnation = ++incarnation_});
  }

  void act() {
    const std::uint32_t number = below(processes_.size());
    auto& process = processes_[number];
    if (!process) return start(number);
    if (below(20) == 0) return let_time_pass();
    if (below(60) == 0) return steal(number);
    if (below(120) == 0) return save();
    if (below(120) == 0) return crash();
    if (process->hangs) return;
    if (!process->connected) return reconnect(*process);
    hear(*process);
    switch (below(26)) {
      case 0: return die(number);
      case 1: process->hangs = true; return;
      case 2: return leave(number);
      case 3: return repeat_push(*process);
      case 4: return repeat_advance(*process);
      case 5: return lose_connection(*process);
      case 6:
      case 7:
      case 8:
      case 9:
      case 10:
      case 11: return push(*process, below(kShards));
      case 12:
      case 13:
      case 14: return advance(*process);
      case 15: return ask_again_from_older(*process, below(kShards));
      default: return ask(*process, below(kShards));
    }
  }

  /// Something of it arrives.
  void hear(const Process& process) {
    const bool live = model_.is_live(process.number, process.session);
    require(state_.heard(process.number, process.session, at_ms(now_)) == live,
            "a sign of life was misjudged");
    if (live) model_.workers[process.number].deadline = now_ + kLease;
  }

  /// Expects peer_lost exactly when the model says that the worker is not live.
  template <typename F>
  bool allowed(const Process& process, const char* what, F&& call) {
    const bool live = model_.is_live(process.number, process.session);
    try {
      call();
    } catch (const Error& error) {
      require(!live && error.code() == ErrorCode::peer_lost,
              fmt::format("{} of worker {} was refused: {}", what, process.number, error.what()));
      ++refusals;
      return false;
    }
    require(live, fmt::format("{} of worker {} was accepted after its lease", what, process.number));
    return true;
  }

  /// False when the number is taken.
  bool join(Process& process) {
    const Join request{.session = process.session,
                       .worker = process.number,
                       .workers = workers_,
                       .consistency = model_.consistency,
                       .push_codec = push_spec_,
                       .pull_codec = pull_spec_};
    const bool free = model_.join(process.number, process.session, now_);
    Joined answer;
    try {
      answer = state_.join(request, at_ms(now_));
    } catch (const Error& error) {
      require(!free && error.code() == kNumberIsTaken,
              fmt::format("join of worker {}: {}", process.number, error.what()));
      return false;
    }
    require(free, fmt::format("worker {} got a number that is taken", process.number));
    const ModelWorker& known = model_.workers[process.number];
    require(answer.sequence == known.sequence, fmt::format("worker {} was told of push {} instead of {}",
                                                           process.number, answer.sequence, known.sequence));
    require(answer.clock == known.clock, fmt::format("worker {} was given clock {} instead of {}",
                                                     process.number, answer.clock, known.clock));
    require(answer.incarnation == incarnation_, "a restarted server gave an incarnation of before");
    process.connected = true;
    process.looks_again.assign(kShards, true);
    process.clock = std::max(process.clock, answer.clock);
    if (process.clock > answer.clock) {
      state_.advance(process.number, process.session, {.clock = process.clock});
      model_.advance(process.number, process.clock);
    }
    for (std::uint32_t shard = 0; shard < kShards; ++shard) {
      const KeyMade made =
          state_.make_key(whole_key(fmt::format("key{}", shard), kElements, "sgd:lr=1"), Floats(kElements));
      require(made.shard == shard, "a key has another number than before");
      if (process.mirrors[shard].values.empty()) process.mirrors[shard].values.resize(kElements);
    }
    return true;
  }

  void start(std::uint32_t number) {
    Process process{.number = number, .session = ++sessions_};
    if (join(process)) processes_[number] = std::move(process);
  }

  void steal(std::uint32_t number) {
    Process thief{.number = number, .session = ++sessions_};
    if (join(thief)) processes_[number] = std::move(thief);
  }

  void push(Process& process, std::uint32_t shard) {
    if (next_element_[shard] == kElements || process.clock < process.pulled_for[shard]) return;
    SentPush sent{.request = {.sequence = ++process.sequence, .shard = shard, .clock = process.clock},
                  .element = next_element_[shard]++};
    switch (below(10)) {
      case 0: break;                          // it never arrives
      case 1: deliver(process, sent); break;  // the answer doesn't
      default: deliver(process, sent); return;
    }
    process.unanswered = sent;
    hang_up(process);
  }

  bool give(const Process& process, const SentPush& sent) {
    Floats gradient(kElements);
    gradient[sent.element] = -1;
    Payload payload = encoded(*push_codec_, gradient);
    return state_.push(process.number, process.session, sent.request, payload);
  }

  void deliver(Process& process, const SentPush& sent) {
    const bool taken = allowed(process, "a push", [&] {
      require(give(process, sent), "a new push counted as known");
      model_.push({.worker = process.number,
                   .session = process.session,
                   .stamp = sent.request.clock,
                   .shard = sent.request.shard,
                   .element = sent.element,
                   .share = std::nullopt});
    });
    if (!taken) return;
    model_.workers[process.number].sequence = sent.request.sequence;
    process.sent.push_back(sent);
  }

  void repeat_push(Process& process) {
    const auto found = model_.workers.find(process.number);
    if (process.sent.empty() || found == model_.workers.end() || found->second.session != process.session)
      return;
    const SentPush& sent = process.sent[below(process.sent.size())];
    // A server that went back to an older state doesn't know its latest pushes, and the client does not
    // repeat what was acknowledged.
    if (sent.request.sequence > found->second.sequence) return;
    require(!give(process, sent),
            fmt::format("push {} of worker {} was taken again", sent.request.sequence, process.number));
    ++repeats;
  }

  void advance(Process& process) {
    ++process.clock;
    if (allowed(process, "a clock",
                [&] { state_.advance(process.number, process.session, {.clock = process.clock}); })) {
      model_.advance(process.number, process.clock);
    }
  }

  void repeat_advance(Process& process) {
    const std::uint64_t earlier = process.clock - std::min<std::uint64_t>(process.clock, below(3));
    if (allowed(process, "a clock again",
                [&] { state_.advance(process.number, process.session, {.clock = earlier}); })) {
      model_.advance(process.number, earlier);
    }
  }

  void ask(Process& process, std::uint32_t shard) {
    const std::uint64_t clock = process.clock + (below(3) == 0 ? 1 : 0);
    process.waiting.push_back({.shard = shard, .clock = clock});
    process.looks_again[shard] = true;
    process.pulled_for[shard] = std::max(process.pulled_for[shard], clock);
  }

  /// As if the answers since then had been lost.
  void ask_again_from_older(Process& process, std::uint32_t shard) {
    if (process.older[shard].values.empty()) return;
    process.mirrors[shard] = process.older[shard];
    ask(process, shard);
  }

  /// A pull that had to wait is only tried again when its shard is said to have moved; nobody who may read
  /// waits on for all that.
  void retry_waiting() {
    for (bool again = true; again;) {
      try_waiting();
      const Moved moved = state_.take_moved();
      again = moved.all || !moved.shards.empty();
      for (auto& process : processes_) {
        if (!process) continue;
        if (moved.all) process->looks_again.assign(kShards, true);
        for (const std::uint32_t shard : moved.shards) process->looks_again[shard] = true;
      }
    }
    for (const auto& process : processes_) {
      if (!process || process->hangs || !process->connected) continue;
      if (!model_.is_live(process->number, process->session)) continue;
      for (const Pull& pull : process->waiting) {
        require(!model_.may_read(pull.shard, pull.clock),
                fmt::format("worker {} was not told that its pull need not wait", process->number));
      }
    }
  }

  void try_waiting() {
    for (auto& process : processes_) {
      if (!process || process->hangs || !process->connected) continue;
      std::vector<Pull> still;
      const auto looks_again = std::exchange(process->looks_again, std::vector<bool>(kShards));
      for (Pull& pull : process->waiting) {
        if (looks_again[pull.shard] && answered(*process, pull)) continue;
        still.push_back(pull);
        ++waits;
      }
      process->waiting = std::move(still);
    }
  }

  bool answered(Process& process, Pull& pull) {
    Mirror& mirror = process.mirrors[pull.shard];
    pull.incarnation = mirror.incarnation;
    pull.version = mirror.version;
    bool waits_on = false;
    const bool live = allowed(process, "a pull", [&] {
      const auto answer = state_.pull(process.number, process.session, pull);
      model_.pull(process.number, pull.shard, pull.clock);
      require(answer.has_value() == model_.may_read(pull.shard, pull.clock),
              fmt::format("a pull at clock {} {} while the shard's clock is {}", pull.clock,
                          answer ? "was answered" : "has to wait", model_.least(pull.shard)));
      if (answer) {
        require(static_cast<std::int64_t>(answer->head.clock) == model_.least(pull.shard),
                fmt::format("a pull was told clock {}, and it is {}", answer->head.clock,
                            model_.least(pull.shard)));
      }
      if (!answer) {
        waits_on = true;
        return;
      }
      if (below(2) == 0) process.older[pull.shard] = mirror;
      const std::uint64_t held = mirror.version;
      const bool same_server = mirror.incarnation == incarnation_;
      mirror.take(*answer, *pull_codec_, incarnation_);
      require(std::ranges::equal(*state_.estimate(pull.shard), mirror.values),
              fmt::format("worker {} holds other bits than the server's version {}", process.number,
                          mirror.version));
      if (!pull_spec_.starts_with("onebit")) check_read(model_, *pull_codec_, process, pull, mirror.values);
      ++pulls;
      require(answer->head.whole == !(same_server && mirror.version - held <= kept_frames()),
              fmt::format("version {} was brought up to {} {}", held, mirror.version,
                          answer->head.whole ? "whole" : "by frames"));
      if (!answer->head.whole) {
        require(mirror.version == held + answer->head.sealed, "the wrong number of frames");
        sealed_pulls += answer->head.sealed > 0 ? 1 : 0;
      }
    });
    return !live || !waits_on;
  }

  [[nodiscard]] std::uint64_t kept_frames() const {
    if (pull_codec_->identity()) return 0;
    return std::min<std::uint64_t>(kept_, kElements * sizeof(float) / pull_codec_->max_payload(kElements));
  }

  void hang_up(Process& process) {
    process.connected = false;
    state_.gone(process.number, process.session);
    const auto found = model_.workers.find(process.number);
    if (found != model_.workers.end() && found->second.session == process.session &&
        found->second.connections > 0) {
      --found->second.connections;
    }
  }

  /// Sometimes the new connection is there before the end of the old one is noticed.
  void lose_connection(Process& process) {
    const bool late = below(2) == 0;
    if (!late) hang_up(process);
    if (!join(process)) {
      processes_[process.number].reset();
      return;
    }
    if (late) {
      hang_up(process);
      process.connected = true;
    }
  }

  void reconnect(Process& process) {
    if (!join(process)) {  // somebody else has the number now
      processes_[process.number].reset();
      return;
    }
    if (!process.unanswered) return;
    SentPush again = *process.unanswered;
    process.unanswered.reset();
    if (again.request.sequence <= model_.workers[process.number].sequence) {
      require(!give(process, again), "a push was taken again after reconnecting");
      ++repeats;
      return;
    }
    again.request.clock = std::max(again.request.clock, model_.workers[process.number].clock);
    deliver(process, again);
  }

  void die(std::uint32_t number) {
    hang_up(*processes_[number]);
    processes_[number].reset();
  }

  void leave(std::uint32_t number) {
    if (below(3) != 0) return;
    const std::uint64_t session = processes_[number]->session;
    state_.leave(number, session);
    if (model_.is_live(number, session)) {
      model_.workers[number].live = false;
      model_.changed();
    }
    die(number);
  }

  void let_time_pass() {
    now_ += 20 + below(80);
    for (auto& process : processes_) {
      if (process && process->connected && !process->hangs && below(4) != 0) hear(*process);
    }
    require(state_.expire(at_ms(now_)) == model_.expire(now_), "the wrong leases are over");
    for (auto& process : processes_) {
      if (process && process->hangs && below(2) == 0) process->hangs = false;
      // It is told to join again, and does so sooner or later.
      if (!process || process->hangs || !process->connected || below(2) == 0) continue;
      if (!model_.is_live(process->number, process->session)) lose_connection(*process);
    }
  }

  void save() {
    saved_ = state_.save();
    saved_model_ = model_;
  }

  /// The server dies, and goes on from the last state that it saved.
  void crash() {
    if (saved_.empty() || below(2) == 0) save();
    state_ = fresh_state();
    state_.restore(saved_, at_ms(now_));
    model_ = saved_model_;
    for (auto& [number, worker] : model_.workers) {
      worker.connections = 0;
      worker.deadline = now_ + kLease;
    }
    for (auto& process : processes_) {
      if (process) process->connected = false;
    }
  }

  void check_clock() {
    require(static_cast<std::int64_t>(state_.clock()) == model_.least(),
            fmt::format("the servers' clock is {} instead of {}", state_.clock(), model_.least()));
  }

  std::mt19937 random_;
  std::uint32_t workers_;
  std::uint32_t kept_ = 1;
  std::uint64_t incarnation_ = 0;
  std::uint64_t sessions_ = 0;
  std::int64_t now_ = 0;
  std::string push_spec_;
  std::string pull_spec_;
  std::shared_ptr<const compress::Codec> push_codec_;
  std::shared_ptr<const compress::Codec> pull_codec_;
  ServerState state_;
  HistoryModel model_;
  std::vector<std::byte> saved_;
  HistoryModel saved_model_;
  std::vector<std::optional<Process>> processes_;
  std::size_t next_element_[kShards] = {};
};

TEST(ServerHistory, KeepsTheRules) {
  const std::uint32_t histories = quick() ? 1'000 : 10'000;
  std::uint64_t pulls = 0;
  std::uint64_t sealed_pulls = 0;
  std::uint64_t waits = 0;
  std::uint64_t refusals = 0;
  std::uint64_t repeats = 0;
  for (std::uint32_t seed = 0; seed < histories; ++seed) {
    History history(seed);
    try {
      history.run();
    } catch (const std::exception& error) {
      FAIL() << "history " << seed << ", " << history.describe() << ": " << error.what();
    }
    pulls += history.pulls;
    sealed_pulls += history.sealed_pulls;
    waits += history.waits;
    refusals += history.refusals;
    repeats += history.repeats;
  }
  // Histories in which nothing happens would prove nothing.
  EXPECT_GT(pulls, 20 * histories);
  EXPECT_GT(sealed_pulls, histories);
  EXPECT_GT(waits, histories);
  EXPECT_GT(refusals, histories / 2);
  EXPECT_GT(repeats, histories);
  RecordProperty("counts", fmt::format("pulls {}, sealed {}, waits {}, refusals {}, repeats {}", pulls,
                                       sealed_pulls, waits, refusals, repeats));
}

}  // namespace
}  // namespace gradwire::server
