#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <utility>

// What the CUDA runtime of the tests knows: two devices, whose memory is the host's, and what a test wants to
// go wrong.

struct CUstream_st {  // NOLINT(readability-identifier-naming)
  int device = 0;
};
struct CUevent_st {  // NOLINT(readability-identifier-naming)
  unsigned flags = 0;
};

namespace cuda_on_host {

inline constexpr int kDevices = 2;
/// More than this is refused.
inline constexpr std::size_t kMemory = std::size_t{1} << 28U;

enum class Owner { host, device, managed };

struct Allocation {
  std::size_t bytes = 0;
  Owner owner = Owner::host;
  int device = 0;
};

struct World {
  int device = 0;
  std::map<const std::byte*, Allocation> memory;
  /// Kernels that may be launched, by device.
  std::set<std::pair<int, const void*>> loaded;
  /// What the function of that name shall return instead of doing anything.
  std::map<std::string, int> refusals;

  [[nodiscard]] const Allocation* find(const void* pointer) const {
    const auto* byte = static_cast<const std::byte*>(pointer);
    auto after = memory.upper_bound(byte);
    if (after == memory.begin()) return nullptr;
    --after;
    return byte < after->first + after->second.bytes ? &after->second : nullptr;
  }
};

inline World& world() {
  static World one;
  return one;
}

}  // namespace cuda_on_host
