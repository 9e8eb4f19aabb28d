#include "transport/sleeper.hpp"

#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/system_error.hpp"

namespace gradwire::transport {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr std::uint64_t kBellTag = ~std::uint64_t{0};
constexpr std::uint64_t kTimerTag = kBellTag - 1;
/// Shorter sleeps go through the timer, which is exact; longer ones can do with milliseconds.
constexpr milliseconds kTimerBelow{20};
constexpr milliseconds kLongestSleep{1000};

}  // namespace

Sleeper::Sleeper(std::shared_ptr<const Doorbell> bell)
    : bell_(std::move(bell)),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      timer_(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)) {
  if (!epoll_ || !timer_) {
    throw base::system_error("cannot create an epoll or timer descriptor",
                             "raise the limit on open files (ulimit -n)");
  }
  add(bell_->fd(), EPOLLIN, kBellTag);
  add(timer_.get(), EPOLLIN, kTimerTag);
}

void Sleeper::watch(int fd, std::uint64_t tag) const {
  add(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, tag);
}

void Sleeper::forget(int fd) const noexcept { ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr); }

void Sleeper::add(int fd, std::uint32_t events, std::uint64_t tag) const {
  epoll_event event = {};
  event.events = events;
  event.data.u64 = tag;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    throw base::system_error("cannot watch a connection", "raise the limit on open files (ulimit -n)");
  }
}

std::span<const epoll_event> Sleeper::wait_for(int timeout_ms) noexcept {
  const int count = ::epoll_wait(epoll_.get(), events_.data(), static_cast<int>(events_.size()), timeout_ms);
  std::size_t kept = 0;
  for (int i = 0; i < count; ++i) {
    const epoll_event event = events_[static_cast<std::size_t>(i)];
    if (event.data.u64 == kBellTag) {
      bell_->silence();
    } else if (event.data.u64 == kTimerTag) {
      std::uint64_t expirations = 0;
      [[maybe_unused]] const auto taken = ::read(timer_.get(), &expirations, sizeof expirations);
    } else {
      events_[kept++] = event;
    }
  }
  return std::span(events_).first(kept);
}

std::span<const epoll_event> Sleeper::sleep_until(Clock::time_point deadline) noexcept {
  const auto left = std::min<Clock::duration>(deadline - Clock::now(), kLongestSleep);
  if (left <= Clock::duration::zero()) return poll();
  if (left < kTimerBelow) {
    const auto since_boot = std::chrono::duration_cast<nanoseconds>(deadline.time_since_epoch());
    itimerspec when = {};
    when.it_value.tv_sec = since_boot.count() / 1'000'000'000;
    when.it_value.tv_nsec = since_boot.count() % 1'000'000'000;
    ::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
  }
  return wait_for(static_cast<int>(std::chrono::ceil<milliseconds>(left).count()));
}

}  // namespace gradwire::transport
