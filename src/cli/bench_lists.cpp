#include "cli/bench_lists.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "cli/exit_status.hpp"

namespace gradwire::cli {

std::vector<std::string> parse_list(const std::string& text, const std::vector<std::string>& all) {
  if (text == "all") return all;
  std::vector<std::string> out;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string piece = text.substr(begin, end - begin);
    begin = end + 1;
    const bool option = piece.find('=') != std::string::npos && piece.find(':') == std::string::npos;
    if (piece.empty() || (option && out.empty())) {
      throw UsageError(fmt::format("'{}' is not a list of names with commas between them", text));
    }
    if (option) {
      out.back() += "," + piece;
    } else {
      out.push_back(piece);
    }
  }
  return out;
}

std::vector<std::uint64_t> parse_sizes(std::uint64_t min, std::uint64_t max, double factor) {
  constexpr double kSlowest = 1.01;
  constexpr std::uint64_t kElement = sizeof(float);
  constexpr std::uint64_t kLargest = std::uint64_t{1} << 40U;
  if (min % kElement != 0 || min == 0) {
    throw UsageError(fmt::format("--min {} is not a multiple of {} bytes, a float32", min, kElement));
  }
  if (max < min) throw UsageError(fmt::format("--max {} is less than --min {}", max, min));
  if (max > kLargest) throw UsageError(fmt::format("--max {} is more than this can be meant for", max));
  if (!(factor >= kSlowest) || !std::isfinite(factor)) {
    throw UsageError(fmt::format("--factor {} is not a number of {} or more", factor, kSlowest));
  }
  std::vector<std::uint64_t> out;
  auto exact = static_cast<double>(min);
  while (exact <= static_cast<double>(max)) {
    const std::uint64_t size = static_cast<std::uint64_t>(exact) / kElement * kElement;
    if (out.empty() || size > out.back()) out.push_back(size);
    exact *= factor;
  }
  return out;
}

}  // namespace gradwire::cli
