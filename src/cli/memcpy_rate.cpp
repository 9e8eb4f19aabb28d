#include "cli/memcpy_rate.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>

namespace gradwire::cli {
namespace {

constexpr std::size_t kBytes = std::size_t{64} << 20U;
constexpr int kCopies = 5;

}  // namespace

MemcpyRate::MemcpyRate() : from_(kBytes, 1), to_(kBytes, 2) {}

double MemcpyRate::measure() {
  std::vector<double> seconds;
  for (int i = 0; i < kCopies; ++i) {
    from_[0] = static_cast<char>(i);
    const auto begin = std::chrono::steady_clock::now();
    std::memcpy(to_.data(), from_.data(), kBytes);
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  std::sort(seconds.begin(), seconds.end());
  return static_cast<double>(kBytes) / seconds[kCopies / 2] * 1e-9;
}

}  // namespace gradwire::cli
