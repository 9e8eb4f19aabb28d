// What other threads ask of a session.

#include "server/client_session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/background_thread.hpp"
#include "compress/codec.hpp"

namespace gradwire::server {

ClientSession::ClientSession(const ParameterServerClientOptions& options, int server, std::uint64_t session,
                             std::shared_ptr<transport::LinkRate> link)
    : options_(options),
      server_(server),
      session_(session),
      link_(std::move(link)),
      plain_(compress::make_codec("none")),
      push_codec_(compress::make_codec(options.push_codec)),
      pull_codec_(compress::make_codec(options.pull_codec)),
      patience_(options.timeout),
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

}  // namespace gradwire::server
