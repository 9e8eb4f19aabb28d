#pragma once

#include <array>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

// What the CUDA runtime of the tests knows: two devices, whose memory is the host's, and what a test wants to
// go wrong. For one thread at a time.

/// What is put on a stream happens as late as it may: when somebody waits for it. Who forgets to wait, or
/// overwrites what is still to be read, is found out.
struct CUstream_st {  // NOLINT(readability-identifier-naming)
  explicit CUstream_st(int its_device) : device(its_device) {}

  void run_one() {
    const std::function<void()> first = std::move(work.front());
    work.pop_front();
    first();
  }
  void run_all() {
    while (!work.empty()) run_one();
  }

  int device = 0;
  std::deque<std::function<void()>> work;
};

namespace cuda_on_host {

/// Where an event was recorded.
struct Mark {
  CUstream_st* stream = nullptr;
  bool reached = false;

  void reach() const {
    while (!reached) stream->run_one();
  }
};

}  // namespace cuda_on_host

struct CUevent_st {  // NOLINT(readability-identifier-naming)
  unsigned flags = 0;
  std::shared_ptr<cuda_on_host::Mark> mark{};
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
  std::set<CUstream_st*> streams;
  /// Of their compute capability.
  std::array<int, kDevices> majors{9, 9};
  /// Kernels that may be launched, by device.
  std::set<std::pair<int, const void*>> loaded;
  /// Of the host, for streams and events: how often it slept, and how often it would have kept a core busy.
  int sleeping_waits = 0;
  int spinning_waits = 0;
  /// Memory that was given back while anything was under way: CUDA promises for some of it to wait.
  int early_frees = 0;
  /// What the function of that name shall return instead of doing anything.
  std::map<std::string, int> refusals;

  [[nodiscard]] const Allocation* find(const void* pointer) const {
    const auto* byte = static_cast<const std::byte*>(pointer);
    auto after = memory.upper_bound(byte);
    if (after == memory.begin()) return nullptr;
    --after;
    return byte < after->first + after->second.bytes ? &after->second : nullptr;
  }
  /// Whether so many bytes are all of one allocation, or none of any.
  [[nodiscard]] bool holds_all(const void* pointer, std::size_t bytes) const {
    return bytes == 0 || find(pointer) == find(static_cast<const std::byte*>(pointer) + bytes - 1);
  }
};

inline World& world() {
  static World one;
  return one;
}

/// The default stream's work happens at once.
inline void put(CUstream_st* stream, std::function<void()> work) {
  if (stream == nullptr) {
    work();
  } else {
    stream->work.push_back(std::move(work));
  }
}

}  // namespace cuda_on_host
