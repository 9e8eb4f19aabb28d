#include "trainer/agreement.hpp"

#include <array>

namespace gradwire::trainer {

std::uint64_t fingerprint(std::span<const std::byte> bytes, std::uint64_t seed) noexcept {
  std::uint64_t hash = seed;
  for (const std::byte byte : bytes) {
    hash ^= static_cast<std::uint64_t>(byte);
    hash *= 0x100000001b3U;
  }
  return hash;
}

bool same_on_all_ranks(Communicator& comm, std::uint64_t value) {
  // 16 bits at a time: a float32 holds them exactly, and no bit pattern of one is a NaN that somebody could
  // normalize.
  std::array<float, 4> mine{};
  for (std::size_t i = 0; i < mine.size(); ++i) mine[i] = static_cast<float>((value >> (16U * i)) & 0xffffU);
  std::array<float, 4> first = mine;
  comm.broadcast(std::span<float>(first));
  std::array<float, 1> differing{first == mine ? 0.0F : 1.0F};
  comm.allreduce(std::span<float>(differing));
  return differing[0] == 0.0F;
}

double mean_over_ranks(Communicator& comm, double value) {
  std::array<float, 1> mean{static_cast<float>(value)};
  comm.allreduce(std::span<float>(mean), {.average = true});
  return static_cast<double>(mean[0]);
}

}  // namespace gradwire::trainer
