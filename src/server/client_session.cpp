#include "server/client_session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/background_thread.hpp"

namespace gradwire::server {
namespace {

using std::chrono::milliseconds;

/// How long a session that ends waits for what was pushed to be acknowledged.
constexpr std::chrono::seconds kLastWords{5};
constexpr milliseconds kFlush{1000};
/// A call cannot be broken off: this long the end of a session may have to wait for it.
constexpr milliseconds kOneCall{1000};
constexpr int kServerRank = 1;

/// Whether trying again cannot help.
bool is_final(const Error& error) noexcept {
  return error.code() != ErrorCode::peer_lost && error.code() != ErrorCode::corrupt_frame &&
         error.code() != ErrorCode::system;
}

transport::ServiceOptions service_options(const ParameterServerClientOptions& options, int server) {
  transport::ServiceOptions service;
  service.address = options.servers[static_cast<std::size_t>(server)];
  service.job = options.job;
  service.kind = options.transport;
  service.link_rate = options.link_rate.empty() ? 0 : transport::parse_rate(options.link_rate);
  service.timeout = std::min<milliseconds>(options.timeout, kOneCall);
  return service;
}

[[noreturn]] void reject(const std::string& what) {
  throw Error(ErrorCode::corrupt_frame, what, "use the same version of Gradwire for workers and servers");
}

std::shared_ptr<ClientRequest> take(std::map<std::uint64_t, std::shared_ptr<ClientRequest>>& from,
                                    std::uint64_t number) {
  const auto found = from.find(number);
  if (found == from.end()) return nullptr;
  auto request = std::move(found->second);
  from.erase(found);
  return request;
}

}  // namespace

ClientSession::ClientSession(const ParameterServerClientOptions& options, int server, std::uint64_t session)
    : options_(options),
      server_(server),
      session_(session),
      plain_(compress::make_codec("none")),
      push_codec_(compress::make_codec(options.push_codec)),
      pull_codec_(compress::make_codec(options.pull_codec)),
      thread_(base::start_background_thread("a parameter server's client", [this] { run(); })) {}

ClientSession::~ClientSession() {
  {
    const std::lock_guard lock(mutex_);
    ending_.store(true);
    if (awake_ != nullptr) awake_->wake();
  }
  thread_.join();
}

Error ClientSession::unanswered(const std::string& why) const {
  return {ErrorCode::timeout,
          fmt::format("{} did not answer worker {} for {:g} s ({})", name(), options_.worker,
                      std::chrono::duration<double>(options_.timeout).count(), why),
          "see what the servers and the other workers say, or raise the timeout", server_};
}

void ClientSession::add_to(ParameterServerClientReport& report) const noexcept {
  report.wire_bytes_sent += bytes_sent_.load();
  report.wire_bytes_received += bytes_received_.load();
  report.pushes += pushes_taken_.load();
  report.lost_pushes += lost_pushes_.load();
  report.pulls += pulls_done_.load();
  report.max_staleness = std::max(report.max_staleness, max_staleness_.load());
  report.mean_staleness += static_cast<double>(staleness_sum_.load());
}

std::string ClientSession::name() const {
  return fmt::format("server {} ({})", server_, options_.servers[static_cast<std::size_t>(server_)]);
}

std::uint64_t ClientSession::wait_until_joined() {
  std::unique_lock lock(mutex_);
  joined_.wait(lock, [this] { return granted_clock_ || failure_; });
  if (failure_) throw Error(*failure_);
  return *granted_clock_;
}

std::uint64_t ClientSession::granted_clock() {
  const std::lock_guard lock(mutex_);
  return granted_clock_.value_or(0);
}

void ClientSession::submit(std::shared_ptr<ClientRequest> request) {
  const std::lock_guard lock(mutex_);
  if (failure_) throw Error(*failure_);
  if (auto* push = std::get_if<Push>(&request->head)) push->sequence = ++last_sequence_;
  if (auto* pull = std::get_if<Pull>(&request->head)) pull->request = ++last_request_;
  if (auto* make = std::get_if<MakeKey>(&request->head)) make->request = ++last_request_;
  submitted_.push_back(std::move(request));
  has_submissions_.store(true);
  if (awake_ != nullptr) awake_->wake();
}

void ClientSession::advance(std::uint64_t clock) {
  auto request = std::make_shared<ClientRequest>();
  request->head = Advance{clock};
  submit(std::move(request));
}

void ClientSession::rejoin() {
  const std::lock_guard lock(mutex_);
  granted_clock_.reset();
  rejoin_asked_.store(true);
  if (awake_ != nullptr) awake_->wake();
}

void ClientSession::run() noexcept {
  last_progress_ = Clock::now();
  while (true) {
    try {
      serve_connection();
      return;
    } catch (const Error& error) {
      const bool is_late = Clock::now() - last_progress_ > options_.timeout;
      if (ending_.load() || is_final(error) || is_late) return fail(error);
    } catch (const std::exception& error) {
      return fail(Error(ErrorCode::system, error.what(), "free memory, or use fewer keys"));
    }
  }
}

void ClientSession::fail(const Error& error) noexcept {
  const std::lock_guard lock(mutex_);
  failure_ = error;
  awake_ = nullptr;
  endpoint_.reset();
  for (const auto& request : submitted_) {
    if (request->operation) request->operation->fail_one(error);
  }
  submitted_.clear();
  for (auto* unanswered : {&pushes_, &requests_}) {
    for (const auto& [number, request] : *unanswered) request->operation->fail_one(error);
    unanswered->clear();
  }
  if (arriving_) arriving_->operation->fail_one(error);
  arriving_.reset();
  joined_.notify_all();
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
    const auto number = number_of(arriving_->head);
    requests_[number] = std::exchange(arriving_, nullptr);
  }
  is_joined_ = false;
  while (!endpoint_) {
    try {
      endpoint_ = transport::call_service(service_options(options_, server_));
    } catch (const Error& error) {
      if (error.code() != ErrorCode::timeout || ending_.load()) throw;
      if (Clock::now() - last_progress_ > options_.timeout) throw unanswered(error.what());
    }
  }
  const std::lock_guard lock(mutex_);
  awake_ = endpoint_.get();
}

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
  out_->add({write_request(join)});
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
    moved = take_answers() || moved;
    if (is_joined_) moved = take_submissions() || moved;
    const auto now = Clock::now();
    if (is_joined_) send_beat(now);
    out_->pump(link);
    bytes_sent_.store(sent_before + link.wire_bytes_sent());
    if (rejoin_asked_.exchange(false)) {
      throw Error(ErrorCode::peer_lost, "this worker joins once more", "nothing needs to be done");
    }
    if (ending_.load()) {
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
    const bool is_asking = !is_joined_ || !pushes_.empty() || !requests_.empty() || arriving_;
    if (moved || !is_asking) {
      last_progress_ = now;
    } else if (now - last_progress_ > options_.timeout) {
      throw unanswered("it is there, but waits: for another worker, most likely");
    }
    if (!moved) endpoint_->wait(std::min({next_beat_, leave_by, last_progress_ + options_.timeout}));
  }
  const std::lock_guard lock(mutex_);
  awake_ = nullptr;
  endpoint_->close(kFlush);
}

void ClientSession::send_beat(Clock::time_point now) {
  if (now < next_beat_) return;
  out_->add({write_request(Beat{})});
  next_beat_ = now + lease_ / 3;
}

bool ClientSession::take_submissions() {
  if (!has_submissions_.exchange(false)) return false;
  std::deque<std::shared_ptr<ClientRequest>> fresh;
  {
    const std::lock_guard lock(mutex_);
    fresh.swap(submitted_);
  }
  for (auto& request : fresh) {
    if (const auto* advance = std::get_if<Advance>(&request->head)) {
      told_clock_ = advance->clock;
      out_->add({write_request(*advance)});
      continue;
    }
    send(*request);
    auto& unanswered = std::holds_alternative<Push>(request->head) ? pushes_ : requests_;
    const auto number = number_of(request->head);
    unanswered.emplace(number, std::move(request));
  }
  return true;
}

void ClientSession::send(const ClientRequest& request) {
  ClientShard& shard = *request.shard;
  if (const auto* push = std::get_if<Push>(&request.head)) {
    Push head = *push;
    head.shard = shard.number;
    // The servers may have gone on without this worker since: then it counts for the step that they are at.
    head.clock = std::max(head.clock, joined_clock_);
    out_->add({write_request(head),
               {push_codec_.get(), shard.number, shard.count, 1},
               {request.sent},
               request.owner});
  } else if (const auto* pull = std::get_if<Pull>(&request.head)) {
    Pull head = *pull;
    head.shard = shard.number;
    head.incarnation = request.is_begun ? 0 : shard.incarnation;
    head.version = shard.version;
    out_->add({write_request(head)});
  } else {
    out_->add(
        {write_request(request.head), {plain_.get(), 0, shard.count, 1}, {request.sent}, request.owner});
  }
}

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
  if (joined.shards < made_shards_) {
    throw Error(ErrorCode::unsupported, fmt::format("{} came back without the keys that it had", name()),
                "give servers a folder for snapshots, and start the job anew", server_);
  }
  const bool was_restarted = incarnation_ != 0 && joined.incarnation != incarnation_;
  if (was_restarted) {
    // A snapshot from before the last loss: what was lost then is not lost once more.
    lost_pushes_ += accepted_ - std::min(accepted_, std::max(joined.sequence, lost_up_to_));
    lost_up_to_ = accepted_;
  }
  incarnation_ = joined.incarnation;
  accepted_ = std::max(joined.sequence, accepted_);
  lease_ = milliseconds(joined.lease_ms);
  next_beat_ = Clock::now() + lease_ / 3;
  is_joined_ = true;
  joined_clock_ = joined.clock;
  repeat_unanswered(joined);
  const std::lock_guard lock(mutex_);
  granted_clock_ = joined.clock;
  joined_.notify_all();
}

void ClientSession::repeat_unanswered(const Joined& joined) {
  while (!pushes_.empty() && pushes_.begin()->first <= joined.sequence) {
    ++pushes_taken_;
    pushes_.begin()->second->operation->succeed_one();
    pushes_.erase(pushes_.begin());
  }
  for (const auto& [sequence, request] : pushes_) send(*request);
  if (told_clock_ > 0) out_->add({write_request(Advance{told_clock_})});
  for (const auto& [number, request] : requests_) send(*request);
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
  arriving_->is_begun = true;
  arriving_pull_ = pulled;
  const ClientShard& shard = *arriving_->shard;
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
    ++made_shards_;
  }
  shard.incarnation = incarnation_;
  arriving_->is_begun = false;
  std::exchange(arriving_, nullptr)->operation->succeed_one();
}

void ClientSession::note_staleness(std::uint64_t clock, std::uint64_t servers_clock) noexcept {
  const std::uint64_t staleness = clock - std::min(clock, servers_clock);
  ++pulls_done_;
  staleness_sum_ += staleness;
  max_staleness_.store(std::max(max_staleness_.load(), staleness));
}

void ClientSession::handle(const Accepted& accepted) {
  if (accepted.sequence == 0) return;  // of a leave
  const auto push = take(pushes_, accepted.sequence);
  if (!push) reject(fmt::format("{} acknowledged push {}, which it was not sent", name(), accepted.sequence));
  accepted_ = std::max(accepted_, accepted.sequence);
  ++pushes_taken_;
  push->operation->succeed_one();
}

void ClientSession::handle(const Refused& refused) {
  const Error error(refused.code, fmt::format("{}: {}", name(), refused.happened), refused.advice, server_);
  if (refused.verb == Verb::join) throw Error(error);
  // The next request says the same.
  if (refused.verb == Verb::advance) return;
  auto& unanswered = refused.verb == Verb::push ? pushes_ : requests_;
  const auto request = take(unanswered, refused.request);
  if (!request) reject(name() + " refused what it was not asked");
  if (request->give_back) request->give_back();
  request->operation->fail_one(error);
}

}  // namespace gradwire::server
