#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace gradwire::cli {

/// "ring,tree" or "all"; a piece like "scale=l2" belongs to the codec before it. Throws UsageError when
/// empty.
std::vector<std::string> parse_list(const std::string& text, const std::vector<std::string>& all);

/// min, min * factor, ... up to max. Throws UsageError when that makes no sense.
std::vector<std::uint64_t> parse_sizes(std::uint64_t min, std::uint64_t max, double factor);

}  // namespace gradwire::cli
