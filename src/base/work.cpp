#include "gradwire/work.hpp"

#include "base/work_source.hpp"

namespace gradwire {

Work::Work(std::shared_ptr<base::WorkSource> source, std::shared_ptr<void> operation,
           std::uint64_t sequence) noexcept
    : source_(std::move(source)), operation_(std::move(operation)), sequence_(sequence) {}

bool Work::done() const noexcept { return !source_ || source_->work_done(operation_.get(), sequence_); }

void Work::wait() {
  if (source_) source_->wait_for_work(operation_.get(), sequence_, std::nullopt);
}

bool Work::wait_for(std::chrono::nanoseconds patience) {
  if (!source_) return true;
  using Clock = base::WorkSource::Clock;
  const auto now = Clock::now();
  const bool is_for_ever = patience > Clock::time_point::max() - now;
  return source_->wait_for_work(operation_.get(), sequence_,
                                is_for_ever ? std::nullopt : std::optional(now + patience));
}

}  // namespace gradwire
