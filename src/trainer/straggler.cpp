#include "trainer/straggler.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "gradwire/error.hpp"

namespace gradwire::trainer {
namespace {

constexpr double kMostFactor = 1000;

template <typename T>
bool read(std::string_view text, T& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

std::vector<std::string_view> parts_of(std::string_view text) {
  std::vector<std::string_view> parts;
  for (auto colon = text.find(':'); colon != std::string_view::npos; colon = text.find(':')) {
    parts.push_back(text.substr(0, colon));
    text.remove_prefix(colon + 1);
  }
  parts.push_back(text);
  return parts;
}

}  // namespace

StragglerOptions parse_straggler(const std::string& text) {
  StragglerOptions options;
  if (text.empty()) return options;
  const auto parts = parts_of(text);
  const bool is_random = parts.front() == "random";
  bool is_good = parts.size() == (is_random ? 3U : 2U) && read(parts[1], options.factor) &&
                 options.factor >= 1 && options.factor <= kMostFactor;
  if (is_random) {
    is_good = is_good && read(parts[2], options.probability) && options.probability >= 0 &&
              options.probability <= 1;
  } else {
    is_good = is_good && read(parts.front(), options.rank) && options.rank >= 0;
  }
  if (is_good) return options;
  throw Error(
      ErrorCode::invalid_argument, fmt::format("--straggler is '{}'", text),
      fmt::format("give RANK:FACTOR or random:FACTOR:PROBABILITY, factors from 1 to {}", kMostFactor));
}

StepPacer::StepPacer(const StragglerOptions& options, double min_step_ms, int rank, std::uint64_t seed)
    : options_(options),
      least_(min_step_ms / 1e3),
      rank_(rank),
      // Not the numbers of another rank a step later.
      random_(Random(seed ^ (0x5354524147ULL + (static_cast<std::uint64_t>(rank) << 40U))).next()) {}

void StepPacer::stretch(double seconds) {
  double wanted = std::max(seconds, least_);
  if (rank_ == options_.rank || random_.uniform() < options_.probability) wanted *= options_.factor;
  if (wanted > seconds) std::this_thread::sleep_for(std::chrono::duration<double>(wanted - seconds));
}

}  // namespace gradwire::trainer
