#include "transport/tcp/token_bucket.hpp"

#include <algorithm>

namespace gradwire::transport {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kBurstBytes = 2 * 1500;
constexpr std::chrono::nanoseconds kCatchUp = 1ms;
/// Bytes move in runs of this time, so that a waiting rank wakes a few thousand times a second and no more.
constexpr std::chrono::nanoseconds kQuantum = 300us;

}  // namespace

TokenBucket::TokenBucket(double rate, std::chrono::nanoseconds head_start) noexcept
    : nanos_per_byte_(1e9 / rate),
      burst_(std::max<Nanos>(cost(kBurstBytes), head_start)),
      catch_up_(std::max<Nanos>(burst_, kCatchUp)),
      quantum_(std::max(kBurstBytes, static_cast<std::size_t>(Nanos(kQuantum).count() / nanos_per_byte_))),
      epoch_(std::chrono::steady_clock::now()),
      free_at_(-burst_) {}

TokenBucket::Nanos TokenBucket::credit(Time now) const noexcept {
  return std::min<Nanos>(Nanos(now - epoch_) - free_at_, silent_ || waiting_ == 0 ? burst_ : catch_up_);
}

void TokenBucket::begin_waiting() noexcept {
  const std::lock_guard lock(mutex_);
  if (waiting_++ == 0) silent_ = true;
}

void TokenBucket::end_waiting() noexcept {
  const std::lock_guard lock(mutex_);
  --waiting_;
}

bool TokenBucket::is_silent() const noexcept {
  const std::lock_guard lock(mutex_);
  return silent_;
}

TokenBucket::Nanos TokenBucket::needed(std::size_t wanted) const noexcept {
  if (silent_) return cost(1);
  // The last two packets go alone, so that what the kernel does with the bulk is done when they are due.
  return cost(std::min(wanted > 2 * kBurstBytes ? wanted - kBurstBytes : wanted, quantum_));
}

std::size_t TokenBucket::allowed(std::size_t wanted, Time now) const noexcept {
  const std::lock_guard lock(mutex_);
  // A nanosecond of grace: the clock counts in whole ones, the costs do not.
  const Nanos have = credit(now) + Nanos(1);
  return have < needed(wanted) ? 0 : static_cast<std::size_t>(have.count() / nanos_per_byte_);
}

TokenBucket::Time TokenBucket::when(std::size_t wanted) const noexcept {
  const std::lock_guard lock(mutex_);
  return epoch_ + std::chrono::ceil<Time::duration>(free_at_ + needed(wanted));
}

void TokenBucket::take(std::size_t bytes, Time moved) noexcept {
  const std::lock_guard lock(mutex_);
  free_at_ = Nanos(moved - epoch_) - credit(moved) + cost(bytes);
  silent_ = false;
}

}  // namespace gradwire::transport
