#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace gradwire::trainer {

/// Which samples a rank trains on in each step. Every epoch is a new permutation of all samples, the same on
/// all ranks; step t takes the next world_size * batch of them and rank r the r-th even part. The last step
/// of an epoch takes what is left, so that an epoch visits each sample exactly once; its parts may differ by
/// one sample, or be empty. All of it is a pure function of (seed, epoch, step): nothing has to be saved to
/// resume.
class ShardSampler {
 public:
  ShardSampler(std::size_t samples, int rank, int world_size, std::size_t batch, std::uint64_t seed);

  [[nodiscard]] std::uint64_t steps_per_epoch() const noexcept;

  /// This rank's samples for a step counted from the start of training. Valid until the next call.
  std::span<const std::uint32_t> local(std::uint64_t step);
  /// Samples that all ranks together take in that step.
  [[nodiscard]] std::size_t global_count(std::uint64_t step) const noexcept;

 private:
  void shuffle(std::uint64_t epoch);

  std::size_t samples_;
  std::size_t rank_;
  std::size_t world_size_;
  std::size_t global_batch_;
  std::uint64_t seed_;
  std::vector<std::uint32_t> order_;
  std::uint64_t shuffled_epoch_;
};

}  // namespace gradwire::trainer
