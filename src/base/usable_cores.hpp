#pragma once

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace gradwire::base {

/// How many cores this thread may run on; at least 1.
inline int usable_cores() noexcept {
  // The kernel refuses a mask that is smaller than its own, which cpu_set_t is on the largest machines.
  constexpr int kMostCores = 1 << 20;
  for (int cores = CPU_SETSIZE; cores <= kMostCores; cores *= 2) {
    cpu_set_t* const set = CPU_ALLOC(cores);
    if (set == nullptr) break;
    const bool is_known = ::sched_getaffinity(0, CPU_ALLOC_SIZE(cores), set) == 0;
    const bool is_too_small = !is_known && errno == EINVAL;
    const int count = is_known ? CPU_COUNT_S(CPU_ALLOC_SIZE(cores), set) : 0;
    CPU_FREE(set);
    if (is_known) return count;
    if (!is_too_small) break;
  }
  return std::max(1, static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)));
}

}  // namespace gradwire::base
