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
constexpr milliseconds kShortestPause{1};
constexpr milliseconds kLongestPause{200};

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
  end();
  thread_.join();
}

void ClientSession::end() noexcept {
  const std::lock_guard lock(mutex_);
  ending_.store(true);
  if (awake_ != nullptr) awake_->wake();
  changed_.notify_all();
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
  changed_.wait(lock, [this] { return granted_clock_ || failure_; });
  if (failure_) throw Error(*failure_);
  return *granted_clock_;
}

std::uint64_t ClientSession::granted_clock() {
  const std::lock_guard lock(mutex_);
  return granted_clock_.value_or(0);
}

void ClientSession::submit(std::shared_ptr<ClientRequest> request) {
  std::unique_lock lock(mutex_);
  if (failure_) {
    lock.unlock();
    return request->refuse(*failure_);
  }
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
  const std::lock_guard lock(mutex_);
  if (failure_) throw Error(*failure_);
}

void ClientSession::rejoin() {
  const std::lock_guard lock(mutex_);
  granted_clock_.reset();
  rejoin_asked_.store(true);
  if (awake_ != nullptr) awake_->wake();
}

void ClientSession::run() noexcept {
  try {
    serve();
    fail(Error(ErrorCode::peer_lost, fmt::format("this client of {} has ended", name()),
               "wait for what was asked before the client's end", server_));
  } catch (const Error& error) {
    fail(error);
  } catch (const std::exception& error) {
    fail(Error(ErrorCode::system, error.what(), "free memory, or use fewer keys"));
  }
}

void ClientSession::serve() {
  note_answer();
  while (true) {
    try {
      return serve_connection();
    } catch (const Error& error) {
      if (ending_.load() || is_final(error)) throw;
      lost_by_ = error.what();
      if (Clock::now() - last_progress_ > options_.timeout) throw unanswered(lost_by_);
    }
    pause_before_calling();
  }
}

/// A server may turn us away for the same request again and again.
void ClientSession::pause_before_calling() {
  std::unique_lock lock(mutex_);
  awake_ = nullptr;
  changed_.wait_for(lock, pause_, [this] { return ending_.load(); });
  pause_ = std::min(pause_ * 2, kLongestPause);
}

void ClientSession::note_answer() noexcept {
  last_progress_ = Clock::now();
  pause_ = kShortestPause;
  bytes_since_answer_ = most_bytes_ = 0;
  lost_by_.clear();
}

/// What a connection carries again after another one was cut is no progress, but what lies beyond is.
void ClientSession::note_bytes(std::uint64_t bytes) noexcept {
  bytes_since_answer_ += bytes;
  if (bytes_since_answer_ <= most_bytes_) return;
  most_bytes_ = bytes_since_answer_;
  last_progress_ = Clock::now();
}

/// Beats get through to a server that does nothing else.
void ClientSession::note_sent(std::uint64_t bytes) noexcept {
  const std::uint64_t fresh = bytes - bytes_sent_.exchange(bytes);
  const std::uint64_t beats = std::min(fresh, beat_bytes_);
  beat_bytes_ -= beats;
  note_bytes(fresh - beats);
}

bool ClientSession::is_asking() const noexcept {
  return !is_joined_ || !pushes_.empty() || !requests_.empty() || arriving_;
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
  for (const auto& request : unsent) request->refuse(error);
  for (auto* unanswered : {&pushes_, &requests_}) {
    for (const auto& [number, request] : *unanswered) request->operation->fail_one(error);
    unanswered->clear();
  }
  if (arriving_) arriving_->operation->fail_one(error);
  arriving_.reset();
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
  bytes_since_answer_ = beat_bytes_ = 0;
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
    const bool was_asking = is_asking();
    // Asked before the last submissions are taken: there are no others behind the goodbye.
    const bool is_ending = ending_.load();
    if (is_joined_) moved = take_submissions() || moved;
    const auto now = Clock::now();
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
      last_progress_ = now;
    } else if (now - last_progress_ > options_.timeout) {
      throw unanswered(lost_by_.empty() ? "it is there, but waits: for another worker, most likely"
                                        : lost_by_);
    }
    if (!moved) endpoint_->wait(std::min({next_beat_, leave_by, last_progress_ + options_.timeout}));
  }
  const std::lock_guard lock(mutex_);
  awake_ = nullptr;
  endpoint_->close(kFlush);
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

}  // namespace gradwire::server
