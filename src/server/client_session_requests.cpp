// What a session sends to its server.

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "server/client_session.hpp"

namespace gradwire::server {

void ClientSession::join() {
  Join join;
  join.session = session_;
  join.worker = static_cast<std::uint32_t>(options_.worker);
  join.workers = static_cast<std::uint32_t>(options_.workers);
  join.server = static_cast<std::uint32_t>(server_);
  join.servers = static_cast<std::uint32_t>(options_.servers.size());
  join.consistency = options_.consistency;
  join.push_codec = push_codec_->spec();
  join.pull_codec = pull_codec_->spec();
  join.settings = options_.settings;
  out_->add({write_request(join)});
}

void ClientSession::send_beat(Clock::time_point now) {
  if (now < next_beat_) return;
  auto beat = write_request(Beat{});
  beat_bytes_ += wire::kHeaderBytes + beat.bytes.size();
  out_->add({std::move(beat)});
  next_beat_ = now + beat_every_;
}

bool ClientSession::take_submissions() {
  if (!has_submissions_.exchange(false)) return false;
  {
    const std::lock_guard lock(mutex_);
    fresh_.swap(submitted_);
  }
  for (; !fresh_.empty(); fresh_.pop_front()) {
    const auto& request = fresh_.front();
    if (const auto* advance = std::get_if<Advance>(&request->head)) {
      told_clock_ = advance->clock;
      out_->add({write_request(*advance)});
      continue;
    }
    if (is_late(*request)) {
      refuse_late(*request);
      continue;
    }
    send(*request);
    auto& unanswered = std::holds_alternative<Push>(request->head) ? pushes_ : requests_;
    unanswered.emplace(number_of(request->head), request);
  }
  return true;
}

bool ClientSession::is_late(const ClientRequest& request) const noexcept {
  // Pushes go before the clock() that ends their step: where one was not taken and the server counts its step
  // as finished, that was not this worker's doing.
  if (const auto* push = std::get_if<Push>(&request.head)) return push->clock < joined_clock_;
  if (const auto* pull = std::get_if<Pull>(&request.head)) return pull->clock < missed_below_;
  return false;
}

void ClientSession::refuse_late(const ClientRequest& request) {
  if (const auto* push = std::get_if<Push>(&request.head)) refused_.insert(push->sequence);
  request.refuse(Error(ErrorCode::peer_lost,
                       fmt::format("{} did not hear of worker {} while their connection was lost, so that "
                                   "the others went on without it, to step {}",
                                   name(), options_.worker, joined_clock_),
                       "join again; the worker then goes on at the servers' clock", server_));
}

void ClientSession::send(const ClientRequest& request) {
  const ClientShard& shard = *request.shard;
  if (const auto* push = std::get_if<Push>(&request.head)) {
    Push head = *push;
    head.shard = shard.number;
    out_->add({write_request(head),
               {push_codec_.get(), shard.number, shard.count, 1},
               {request.sent},
               request.owner});
  } else if (const auto* pull = std::get_if<Pull>(&request.head)) {
    Pull head = *pull;
    head.shard = shard.number;
    head.incarnation = shard.incarnation;
    head.version = shard.version;
    out_->add({write_request(head)});
  } else {
    out_->add(
        {write_request(request.head), {plain_.get(), 0, shard.count, 1}, {request.sent}, request.owner});
  }
}

void ClientSession::repeat_unanswered(const Joined& joined) {
  while (!pushes_.empty() && pushes_.begin()->first <= joined.sequence) {
    ++pushes_taken_;
    pushes_.begin()->second->operation->succeed_one();
    pushes_.erase(pushes_.begin());
  }
  for (auto* const unanswered : {&pushes_, &requests_}) {
    std::erase_if(*unanswered, [this](const auto& entry) {
      const bool late = is_late(*entry.second);
      if (late) refuse_late(*entry.second);
      return late;
    });
  }
  for (const auto& [sequence, request] : pushes_) send(*request);
  if (told_clock_ > 0) out_->add({write_request(Advance{told_clock_})});
  for (const auto& [number, request] : requests_) send(*request);
}

/// Beats get through to a server that does nothing else.
void ClientSession::note_sent(std::uint64_t bytes) noexcept {
  const std::uint64_t fresh = bytes - bytes_sent_.exchange(bytes);
  const std::uint64_t beats = std::min(fresh, beat_bytes_);
  beat_bytes_ -= beats;
  patience_.note_bytes(fresh - beats);
}

}  // namespace gradwire::server
