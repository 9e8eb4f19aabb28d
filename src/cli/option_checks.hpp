#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace gradwire::cli {

/// For options that count: refuses what is below 0, which would become a huge number. To be added with
/// transform(), and after every other transform, so that it sees what has been typed.
CLI::Validator not_negative();
/// The same, and refuses 0.
CLI::Validator positive();
/// For options that name a file or folder: refuses "", which is what a variable that is not set leaves.
CLI::Validator named();
/// For options that are a number from `low` to `high`, which NaN is not.
CLI::Validator within(double low, double high);

/// What stands between the commas of an option's text. Throws UsageError when that is nothing somewhere.
std::vector<std::string> split_list(const std::string& option, const std::string& text);
/// Addresses of servers, each "host:port" and each once. Throws UsageError.
std::vector<std::string> parse_addresses(const std::string& option, const std::string& text);

}  // namespace gradwire::cli
