#include "base/usable_cores.hpp"

#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <cstring>
#include <thread>

namespace {

std::size_t kernel_mask_bytes = 0;
bool is_forbidden = false;

}  // namespace

// Takes the place of the C library's in this program: a kernel for that many cores, of which three are ours.
extern "C" int sched_getaffinity(pid_t /*pid*/, size_t size, cpu_set_t* set) noexcept {
  errno = is_forbidden ? ENOSYS : EINVAL;
  if (is_forbidden || size < kernel_mask_bytes) return -1;
  std::memset(set, 0, size);
  CPU_SET_S(0, size, set);
  CPU_SET_S(5, size, set);
  CPU_SET_S(8 * kernel_mask_bytes - 1, size, set);
  return 0;
}

namespace gradwire::base {
namespace {

TEST(UsableCores, AreCountedHoweverManyTheMachineHas) {
  for (const std::size_t bytes : {8U, 128U, 256U, 1024U}) {
    kernel_mask_bytes = bytes;
    EXPECT_EQ(usable_cores(), 3) << bytes;
  }
}

TEST(UsableCores, AreAllWhereNobodyTells) {
  is_forbidden = true;
  EXPECT_EQ(usable_cores(), static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)));
}

}  // namespace
}  // namespace gradwire::base
