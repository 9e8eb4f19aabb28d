#include "server/client_operation.hpp"

#include <utility>

namespace gradwire::server {

void ClientOperation::end_one(std::unique_lock<std::mutex> lock) {
  if (--open_ > 0) return;
  const auto failure = failure_;
  lock.unlock();
  ended_.notify_all();
  if (!whole_) return;
  if (failure) {
    whole_->fail_one(*failure);
  } else {
    whole_->succeed_one();
  }
}

void ClientOperation::succeed_one() { end_one(std::unique_lock(mutex_)); }

void ClientOperation::fail_one(const Error& error) {
  std::unique_lock lock(mutex_);
  if (!failure_) failure_ = error;
  end_one(std::move(lock));
}

bool ClientOperation::work_done(const void* /*operation*/, std::uint64_t /*sequence*/) const noexcept {
  const std::lock_guard lock(mutex_);
  return open_ == 0;
}

bool ClientOperation::wait_for_work(void* /*operation*/, std::uint64_t /*sequence*/,
                                    std::optional<Clock::time_point> deadline) {
  std::unique_lock lock(mutex_);
  const auto has_ended = [this] { return open_ == 0; };
  if (!deadline) {
    ended_.wait(lock, has_ended);
  } else if (!ended_.wait_until(lock, *deadline, has_ended)) {
    return false;
  }
  if (failure_) throw Error(*failure_);
  return true;
}

Work ClientOperation::work_of(std::shared_ptr<ClientOperation> operation) noexcept {
  return make_work(std::move(operation), nullptr, 0);
}

}  // namespace gradwire::server
