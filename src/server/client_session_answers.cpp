// What a worker's session makes of a server's answers.

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "server/client_session.hpp"

namespace gradwire::server {
namespace {

using std::chrono::milliseconds;

/// Whatever a server says of its lease.
constexpr milliseconds kShortestBeat{3};

std::shared_ptr<ClientRequest> take(std::map<std::uint64_t, std::shared_ptr<ClientRequest>>& from,
                                    std::uint64_t number) {
  const auto found = from.find(number);
  if (found == from.end()) return nullptr;
  auto request = std::move(found->second);
  from.erase(found);
  return request;
}

}  // namespace

bool ClientSession::take_answers() {
  auto& link = endpoint_->link(kServerRank);
  bool moved = false;
  while (true) {
    if (!in_->is_whole()) {
      if (!take_body()) return moved;
      finish_body();
    }
    const auto* const frame = link.front();
    if (frame == nullptr) return moved;
    bytes_received_ += wire::kHeaderBytes + frame->payload.size();
    const auto answer = in_->take_answer(link);
    if (!answer) return moved;
    moved = true;
    std::visit([this](const auto& head) { handle(head); }, *answer);
  }
}

void ClientSession::handle(const Joined& joined) {
  if (is_joined_) reject(name() + " answered a join twice");
  if (known_shards_ > 0 && (joined.shards < known_shards_ || joined.origin != origin_)) {
    throw Error(ErrorCode::unsupported, fmt::format("{} came back without the keys that it had", name()),
                "give servers a folder for snapshots, and start the job anew", server_);
  }
  if (incarnation_ == 0) patience_.note_answer();
  const bool was_restarted = incarnation_ != 0 && joined.incarnation != incarnation_;
  if (was_restarted) {
    // A snapshot from before the last loss: what was lost then is not lost once more.
    note_lost_after(std::max(joined.sequence, lost_up_to_));
  }
  incarnation_ = joined.incarnation;
  origin_ = joined.origin;
  accepted_ = std::max(joined.sequence, accepted_);
  beat_every_ = std::max(milliseconds(joined.lease_ms) / 3, kShortestBeat);
  next_beat_ = Clock::now() + beat_every_;
  is_joined_ = true;
  turned_away_.reset();
  // The lease was over as well, and the others went on. A restarted server may be behind that again.
  const bool has_missed = joined.clock > std::max(told_clock_, joined_clock_);
  missed_below_ = has_missed ? joined.clock : std::min(missed_below_, joined.clock);
  joined_clock_ = joined.clock;
  {
    // Before anybody hears of what was missed, and asks to join again: that is not this time.
    const std::lock_guard lock(mutex_);
    if (!rejoin_asked_.load()) granted_clock_ = joined.clock;
    changed_.notify_all();
  }
  repeat_unanswered(joined);
}

void ClientSession::note_lost_after(std::uint64_t known) {
  if (known < accepted_) {
    const auto refused = std::distance(refused_.upper_bound(known), refused_.upper_bound(accepted_));
    lost_pushes_ += accepted_ - known - static_cast<std::uint64_t>(refused);
  }
  lost_up_to_ = accepted_;
  refused_.erase(refused_.begin(), refused_.upper_bound(lost_up_to_));
}

void ClientSession::handle(const KeyMade& made) {
  arriving_ = take(requests_, made.request);
  if (!arriving_ || !std::holds_alternative<MakeKey>(arriving_->head))
    reject(name() + " made an unknown key");
  if (made.count != arriving_->shard->count) reject(name() + " made a key of another size");
  ClientShard& shard = *arriving_->shard;
  shard.number = made.shard;
  shard.version = made.version;
  arriving_pull_.reset();
  in_->expect({plain_.get(), shard.number, shard.count, 1});
}

void ClientSession::handle(const Pulled& pulled) {
  arriving_ = take(requests_, pulled.request);
  if (!arriving_ || !std::holds_alternative<Pull>(arriving_->head)) reject(name() + " answered no pull");
  arriving_pull_ = pulled;
  ClientShard& shard = *arriving_->shard;
  // Until all of the answer is in the buffer, this holds no version at all.
  shard.incarnation = 0;
  in_->expect({pulled.whole ? plain_.get() : pull_codec_.get(), shard.number, shard.count,
               pulled.whole ? 1 : pulled.sealed});
  if (in_->is_whole()) finish_body();
}

bool ClientSession::take_body() {
  auto& link = endpoint_->link(kServerRank);
  const bool adds = arriving_pull_ && !arriving_pull_->whole;
  const std::span<float> out = arriving_->out;
  while (!in_->is_whole()) {
    const auto part = in_->front(link);
    if (!part) return false;
    bytes_received_ += wire::kHeaderBytes + part->bytes.size();
    patience_.note_bytes(part->bytes.size());
    float* const to = out.data() + part->first;
    if (adds) {
      pull_codec_->decode_add(part->bytes, to, part->count, 1.0F);
    } else {
      plain_->decode_assign(part->bytes, to, part->count);
    }
    in_->pop(link);
  }
  return true;
}

void ClientSession::finish_body() {
  ClientShard& shard = *arriving_->shard;
  if (arriving_pull_) {
    shard.version = arriving_pull_->version;
    note_staleness(std::get<Pull>(arriving_->head).clock, arriving_pull_->clock);
  } else {
    known_shards_ = std::max(known_shards_, std::uint64_t{shard.number} + 1);
  }
  shard.incarnation = incarnation_;
  patience_.note_answer();
  std::exchange(arriving_, nullptr)->operation->succeed_one();
}

void ClientSession::note_staleness(std::uint64_t clock, std::uint64_t servers_clock) noexcept {
  const std::uint64_t staleness = clock - std::min(clock, servers_clock);
  ++pulls_done_;
  staleness_sum_ += staleness;
  max_staleness_.store(std::max(max_staleness_.load(), staleness));
}

void ClientSession::handle(const Accepted& accepted) {
  if (accepted.sequence == 0) return;  // of a leave, or a sign of life
  const auto push = take(pushes_, accepted.sequence);
  if (!push) reject(fmt::format("{} acknowledged push {}, which it was not sent", name(), accepted.sequence));
  accepted_ = std::max(accepted_, accepted.sequence);
  ++pushes_taken_;
  patience_.note_answer();
  push->operation->succeed_one();
}

void ClientSession::handle(const Refused& refused) {
  const Error error(refused.code, fmt::format("{}: {}", name(), refused.happened), refused.advice, server_);
  if (refused.verb == Verb::join) {
    if (refused.code != kNumberIsTaken) throw Error(error);
    const Error taken(ErrorCode::invalid_argument, fmt::format("{}: {}", name(), refused.happened),
                      refused.advice, server_);
    if (!options_.waits_for_number || incarnation_ != 0) throw Error(taken);
    turned_away_ = taken;
    throw Error(error);
  }
  // The next request says the same.
  if (refused.verb == Verb::advance || refused.verb == Verb::beat) return;
  auto& unanswered = refused.verb == Verb::push ? pushes_ : requests_;
  const auto request = take(unanswered, refused.request);
  if (refused.verb == Verb::push) {
    refused_.insert(refused.request);
    // Before it answers a join a server says once more what it refused.
    if (!request && !is_joined_) return;
  }
  if (!request) reject(name() + " refused what it was not asked");
  patience_.note_answer();
  request->refuse(error);
}

}  // namespace gradwire::server
