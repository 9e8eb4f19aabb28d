#include "trainer/agreement.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "gradwire/error.hpp"

namespace gradwire::trainer {

std::uint64_t fingerprint(std::span<const std::byte> bytes, std::uint64_t seed) noexcept {
  std::uint64_t hash = seed;
  for (const std::byte byte : bytes) {
    hash ^= static_cast<std::uint64_t>(byte);
    hash *= 0x100000001b3U;
  }
  return hash;
}

std::vector<std::uint64_t> values_of_all_ranks(Communicator& comm, std::uint64_t value) {
  // 16 bits at a time, which a float32 holds exactly; a sum in which all others have zeros brings them
  // around.
  constexpr std::size_t kParts = 4;
  std::vector<float> parts(kParts * static_cast<std::size_t>(comm.world_size()));
  const std::size_t own = kParts * static_cast<std::size_t>(comm.rank());
  for (std::size_t i = 0; i < kParts; ++i) {
    parts[own + i] = static_cast<float>((value >> (16U * i)) & 0xffffU);
  }
  comm.allreduce(std::span<float>(parts));
  std::vector<std::uint64_t> values(parts.size() / kParts);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    values[i / kParts] |= static_cast<std::uint64_t>(parts[i]) << (16U * (i % kParts));
  }
  return values;
}

bool same_on_all_ranks(Communicator& comm, std::uint64_t value) {
  return std::ranges::all_of(values_of_all_ranks(comm, value), [&](auto other) { return other == value; });
}

void require_agreement_on(Communicator& comm, const std::vector<Setting>& settings) {
  const auto hash = [](const std::string& text, std::uint64_t seed) {
    return fingerprint(std::as_bytes(std::span(text)), seed);
  };
  const std::uint64_t empty = fingerprint({});
  std::uint64_t all = empty;
  for (const auto& [name, value] : settings) all = hash(value + '\n', all);
  if (same_on_all_ranks(comm, all)) return;
  for (const auto& [name, value] : settings) {
    const auto values = values_of_all_ranks(comm, hash(value, empty));
    const auto other = std::ranges::find_if(values, [&](auto it) { return it != values.front(); });
    if (other == values.end()) continue;
    throw Error(ErrorCode::invalid_argument,
                fmt::format("ranks 0 and {} were given different {} (rank {}: {})", other - values.begin(),
                            name, comm.rank(), value),
                "start all ranks with the same command line and data");
  }
}

std::string lines_of(const std::vector<Setting>& settings) {
  constexpr std::size_t kLongest = 16;
  std::string lines;
  for (const auto& [name, value] : settings) {
    const std::uint64_t hash = fingerprint(std::as_bytes(std::span(value)));
    lines += fmt::format("{}: {}\n", name, value.size() <= kLongest ? value : fmt::format("{:016x}", hash));
  }
  return lines;
}

double mean_over_ranks(Communicator& comm, double value) {
  std::array<float, 1> mean{static_cast<float>(value)};
  comm.allreduce(std::span<float>(mean), {.average = true});
  return static_cast<double>(mean[0]);
}

}  // namespace gradwire::trainer
