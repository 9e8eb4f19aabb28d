#include "trainer/shard_sampler.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "trainer/random.hpp"

namespace gradwire::trainer {

ShardSampler::ShardSampler(std::size_t samples, int rank, int world_size, std::size_t batch,
                           std::uint64_t seed)
    : samples_(samples),
      rank_(static_cast<std::size_t>(rank)),
      world_size_(static_cast<std::size_t>(world_size)),
      global_batch_(batch * world_size_),
      seed_(seed),
      order_(samples),
      shuffled_epoch_(std::numeric_limits<std::uint64_t>::max()) {}

std::uint64_t ShardSampler::steps_per_epoch() const noexcept {
  return (samples_ + global_batch_ - 1) / global_batch_;
}

std::size_t ShardSampler::global_count(std::uint64_t step) const noexcept {
  const std::size_t begin = (step % steps_per_epoch()) * global_batch_;
  return std::min(global_batch_, samples_ - begin);
}

std::span<const std::uint32_t> ShardSampler::local(std::uint64_t step) {
  const std::uint64_t epoch = step / steps_per_epoch();
  if (epoch != shuffled_epoch_) shuffle(epoch);
  const std::size_t begin = (step % steps_per_epoch()) * global_batch_;
  const std::size_t count = global_count(step);
  const std::size_t first = count * rank_ / world_size_;
  const std::size_t last = count * (rank_ + 1) / world_size_;
  return std::span(order_).subspan(begin + first, last - first);
}

void ShardSampler::shuffle(std::uint64_t epoch) {
  std::iota(order_.begin(), order_.end(), 0U);
  Random mixer(seed_);
  Random random(mixer.next() + epoch);
  for (std::size_t i = order_.size(); i > 1; --i) {
    std::swap(order_[i - 1], order_[random.below(static_cast<std::uint32_t>(i))]);
  }
  shuffled_epoch_ = epoch;
}

}  // namespace gradwire::trainer
