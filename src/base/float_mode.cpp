#include "base/float_mode.hpp"

#if defined(__x86_64__) || defined(__SSE2__)
#include <xmmintrin.h>
#elif !defined(__aarch64__)
#include <cfenv>
#endif

namespace gradwire::base {
namespace {

#if defined(__x86_64__) || defined(__SSE2__)
constexpr std::uint64_t kStatusFlags = 0x3F;  // MXCSR: sticky exception flags, the caller's to keep
constexpr std::uint64_t kPlain = 0x1F80;      // MXCSR: all exceptions masked, to nearest, no FTZ, no DAZ

std::uint64_t read_mode() noexcept { return _mm_getcsr(); }
void write_mode(std::uint64_t mode) noexcept { _mm_setcsr(static_cast<unsigned>(mode)); }
std::uint64_t plain(std::uint64_t mode) noexcept { return (mode & kStatusFlags) | kPlain; }

#elif defined(__aarch64__)
// FPCR: FIZ, AH, NEP (0-2), traps (8-15), FZ16 (19), rounding (22-23), FZ (24)
constexpr std::uint64_t kControls = 0x7U | (0xFFU << 8U) | (1U << 19U) | (0x7U << 22U);

std::uint64_t read_mode() noexcept {
  std::uint64_t mode = 0;
  asm volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
}
void write_mode(std::uint64_t mode) noexcept { asm volatile("msr fpcr, %0" : : "r"(mode)); }
std::uint64_t plain(std::uint64_t mode) noexcept { return mode & ~kControls; }

#else
std::uint64_t read_mode() noexcept { return static_cast<std::uint64_t>(std::fegetround()); }
void write_mode(std::uint64_t mode) noexcept { std::fesetround(static_cast<int>(mode)); }
std::uint64_t plain(std::uint64_t) noexcept { return static_cast<std::uint64_t>(FE_TONEAREST); }
#endif

}  // namespace

FloatMode::FloatMode() noexcept : saved_(read_mode()) {
  const std::uint64_t wanted = plain(saved_);
  if (wanted != saved_) write_mode(wanted);
}

FloatMode::~FloatMode() {
  if (plain(saved_) != saved_) write_mode(saved_);
}

}  // namespace gradwire::base
