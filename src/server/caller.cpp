#include "server/caller.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace gradwire::server {
namespace {

/// Answers that a worker has not taken: until it does, nothing more of its requests is read.
constexpr std::size_t kMostAnswers = 256;
/// Requests that are taken before it is the others' turn.
constexpr std::size_t kMostAtOnce = 256;
/// Pulls that may wait beside one of each key.
constexpr std::size_t kMorePulls = 1024;
/// As often as workers give theirs.
constexpr int kSignsPerLease = 3;
/// Answers to pulls that wait for the link: more would only be computed before their time.
constexpr std::size_t kAhead = 4;

}  // namespace

Caller::Caller(ServerState& state, Tally& tally)
    : state_(state),
      tally_(tally),
      plain_(compress::make_codec("none")),
      in_(Side::worker, "a caller"),
      out_(Side::server) {}

const Caller::Worker& Caller::worker() const {
  if (!worker_) reject("a caller asked for something before it joined");
  return *worker_;
}

std::optional<Time> Caller::silent_since() const noexcept {
  return worker_ ? std::nullopt : std::optional(came_);
}

bool Caller::serve(transport::Link& link, Time now) {
  bool moved = false;
  // Also while nothing is read of it, taking its answers shows that it lives.
  if (worker_ && link.completed() > completed_) state_.heard(worker_->number, worker_->session, now);
  completed_ = std::max(completed_, link.completed());
  if (worker_ && now >= next_sign_) give_sign(now);
  for (std::size_t i = 0; i < kMostAtOnce && out_.size() < kMostAnswers && link.front() != nullptr; ++i) {
    if (worker_) state_.heard(worker_->number, worker_->session, now);
    // What it sends meanwhile waits on its way here: it is alive, and holds nobody back.
    if (is_held_back()) break;
    moved = true;
    if (in_.is_whole()) {
      if (auto request = in_.take_request(link)) handle(std::move(*request), now);
    } else if (std::holds_alternative<MakeKey>(due_) ? take_value(link) : in_.take_into(link, payload_)) {
      finish_body();
    }
  }
  out_.pump(link);
  while (answer_asked()) {
    moved = true;
    if (!out_.pump(link)) break;
  }
  return moved;
}

bool Caller::is_held_back() const noexcept {
  return in_.is_whole() && worker_ && state_.is_far_ahead(worker_->number, worker_->session);
}

void Caller::handle(Request request, Time now) {
  if (const auto* join = std::get_if<Join>(&request)) return handle(*join, now);
  const Worker who = worker();
  // It asks for nothing before it has the answer to its join, and what went before that.
  if (std::exchange(just_joined_, false)) state_.forget_refused(who.number, who.session);
  if (const auto* make = std::get_if<MakeKey>(&request)) return begin(*make);
  if (const auto* push = std::get_if<Push>(&request)) return begin(*push);
  if (const auto* pull = std::get_if<Pull>(&request)) return handle(*pull);
  const Verb verb = verb_of(request);
  try {
    if (const auto* advance = std::get_if<Advance>(&request)) {
      state_.advance(who.number, who.session, *advance);
    } else if (std::holds_alternative<Beat>(request)) {
      state_.beat(who.number, who.session);
    } else {
      state_.leave(who.number, who.session);
      answer(Accepted{});
    }
  } catch (const Error& error) {
    refuse(verb, 0, error);
  }
}

void Caller::handle(const Join& join, Time now) {
  if (worker_) reject("a worker joined twice on one connection");
  try {
    const Joined joined = state_.join(join, now);
    worker_ = {join.worker, join.session};
    in_.rename(fmt::format("worker {}", join.worker));
    push_codec_ = compress::make_codec(join.push_codec);
    pull_codec_ = compress::make_codec(join.pull_codec);
    for (const Refused& again : state_.refused(join.worker, join.session)) answer(again);
    answer(joined);
    just_joined_ = true;
    sign_every_ = std::chrono::milliseconds(joined.lease_ms) / kSignsPerLease;
    next_sign_ = now + sign_every_;
  } catch (const Error& error) {
    refuse(Verb::join, 0, error);
  }
}

void Caller::give_sign(Time now) {
  next_sign_ = now + sign_every_;
  if (out_.size() > 0) return;
  answer(Accepted{});
  // The next frame that the link completes, which shows nothing of the worker: it does not ask for it.
  ++completed_;
}

void Caller::begin(const MakeKey& request) {
  in_.expect({plain_.get(), 0, request.count, 1});
  due_ = request;
  try {
    state_.require_member(worker().number, worker().session);
    keeps_value_ = state_.needs_value(request);
  } catch (const Error&) {
    keeps_value_ = false;  // it is refused for that once its value is past
  }
  if (in_.is_whole()) finish_body();
}

bool Caller::take_value(transport::Link& link) {
  // As it comes: a head alone, which may say anything, costs no memory.
  keeps_value_ = keeps_value_ && !state_.is_known(std::get<MakeKey>(due_).key);
  if (!keeps_value_) value_ = {};
  while (!in_.is_whole()) {
    const auto part = in_.front(link);
    if (!part) return false;
    if (!keeps_value_) {
      in_.pop(link);
      continue;
    }
    const std::size_t at = value_.size();
    value_.resize(at + part->count);
    plain_->decode_assign(part->bytes, value_.data() + at, part->count);
    in_.pop(link);
  }
  return true;
}

void Caller::begin(const Push& request) {
  if (state_.has_many_refused(worker().number, worker().session)) {
    throw Error(ErrorCode::peer_lost, "so many pushes of a worker were refused that it has to say it knows",
                "connect again");
  }
  const std::uint64_t count = state_.count(request.shard);
  // By the codec that this worker joined with, whatever job the server has now.
  payload_.resize(push_codec_->max_payload(count));
  in_.expect({push_codec_.get(), request.shard, count, 1});
  due_ = request;
  if (in_.is_whole()) finish_body();
}

void Caller::finish_body() {
  if (std::holds_alternative<MakeKey>(due_)) {
    finish_key();
  } else {
    finish_push();
  }
  due_ = {};
}

void Caller::finish_key() {
  const auto& request = std::get<MakeKey>(due_);
  try {
    state_.require_member(worker().number, worker().session);
    made_.push_back(state_.make_key(request, value_));
  } catch (const Error& error) {
    refuse(Verb::make_key, request.request, error);
  }
  value_ = {};
}

void Caller::keys_are_safe(std::size_t keys, transport::Link& link) {
  const auto first_unsafe =
      std::ranges::find_if(made_, [&](const KeyMade& key) { return key.shard >= keys; });
  for (auto key = made_.begin(); key != first_unsafe; ++key) {
    const auto estimate = state_.estimate(key->shard);
    // It may be a later one than when the key was made.
    key->version = state_.version(key->shard);
    out_.add({write_answer(*key),
              {plain_.get(), key->shard, estimate->size(), 1},
              {std::as_bytes(std::span(*estimate))},
              estimate});
  }
  made_.erase(made_.begin(), first_unsafe);
  out_.pump(link);
}

void Caller::finish_push() {
  const auto& request = std::get<Push>(due_);
  try {
    const bool is_new = state_.push(worker().number, worker().session, request, payload_);
    ++(is_new ? tally_.pushes : tally_.repeated_pushes);
    answer(Accepted{request.sequence});
  } catch (const Error& error) {
    ++tally_.refused_pushes;
    refuse(Verb::push, request.sequence, error);
  }
}

void Caller::handle(const Pull& pull) {
  if (asked_.size() + waiting_.size() > state_.keys() + kMorePulls) {
    reject(fmt::format("a worker asked for more than {} values at a time", asked_.size()));
  }
  asked_.push_back(pull);
  try {
    // Others may wait for that, however long the answers before this one take.
    state_.announce(worker().number, worker().session, pull);
  } catch (const Error&) {
    return;  // The answer will say it.
  }
}

void Caller::shards_moved(const Moved& moved) {
  const auto ask_again = [this](auto first, auto last) {
    for (auto it = first; it != last; ++it) asked_.push_back(it->second);
    waiting_.erase(first, last);
  };
  if (moved.all) return ask_again(waiting_.begin(), waiting_.end());
  for (const std::uint32_t shard : moved.shards) {
    const auto [first, last] = waiting_.equal_range(shard);
    ask_again(first, last);
  }
}

bool Caller::answer_asked() {
  if (asked_.empty() || out_.unsent() >= kAhead) return false;
  const Pull pull = asked_.front();
  asked_.pop_front();
  if (!answer_pull(pull)) waiting_.emplace(pull.shard, pull);
  return true;
}

bool Caller::answer_pull(const Pull& pull) {
  try {
    auto found = state_.pull(worker().number, worker().session, pull);
    if (!found) return false;
    ++tally_.pulls;
    Outgoing message{write_answer(found->head)};
    if (found->head.whole) {
      ++tally_.whole_pulls;
      message.body = {plain_.get(), pull.shard, found->whole->size(), 1};
      message.payloads = {std::as_bytes(std::span(*found->whole))};
      message.owner = found->whole;
    } else if (!found->sealed.empty()) {
      const auto frames = std::make_shared<const std::vector<SealedFrame>>(std::move(found->sealed));
      message.body = {pull_codec_.get(), pull.shard, state_.count(pull.shard),
                      static_cast<std::uint32_t>(frames->size())};
      for (const auto& frame : *frames) message.payloads.emplace_back(*frame);
      message.owner = frames;
    }
    out_.add(std::move(message));
  } catch (const Error& error) {
    refuse(Verb::pull, pull.request, error);
  }
  return true;
}

void Caller::answer(const Answer& head) { out_.add({write_answer(head)}); }

void Caller::refuse(Verb verb, std::uint64_t request, const Error& error) {
  answer(refusal(verb, request, error));
}

void Caller::over() noexcept {
  if (worker_) state_.gone(worker_->number, worker_->session);
  worker_.reset();
}

}  // namespace gradwire::server
