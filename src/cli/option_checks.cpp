#include "cli/option_checks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <string>
#include <utility>

#include "cli/command.hpp"
#include "gradwire/inspect.hpp"

namespace gradwire::cli {
namespace {

bool is_negative(const std::string& text) {
  const auto first = text.find_first_not_of(" \t");
  return first != std::string::npos && text[first] == '-';
}

bool is_zero(const std::string& text) {
  return !text.empty() && text.find_first_not_of("+0 ") == std::string::npos;
}

/// Unlike CLI11's own it adds nothing to what --help says of the option's type.
CLI::Validator silent(std::function<std::string(std::string&)> check) { return {std::move(check), ""}; }

}  // namespace

CLI::Validator not_negative() {
  return silent([](const std::string& text) {
    return is_negative(text) ? fmt::format("{} makes no sense; give 0 or more", text) : std::string();
  });
}

CLI::Validator positive() {
  return silent([](const std::string& text) {
    return is_negative(text) || is_zero(text) ? fmt::format("{} makes no sense; give 1 or more", text)
                                              : std::string();
  });
}

CLI::Validator within(double low, double high) {
  return {[low, high](const std::string& text) {
            const double number = std::strtod(text.c_str(), nullptr);
            const bool is_good = number >= low && number <= high;
            return is_good ? std::string() : fmt::format("{} makes no sense; give {} to {}", text, low, high);
          },
          fmt::format("FLOAT in [{} - {}]", low, high)};
}

CLI::Validator named() {
  return silent([](const std::string& text) {
    return text.empty() ? "the name is empty; give one, or leave the option out" : std::string();
  });
}

std::vector<std::string> split_list(const std::string& option, const std::string& text) {
  std::vector<std::string> out;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    out.push_back(text.substr(begin, end - begin));
    if (out.back().empty()) {
      throw UsageError(
          fmt::format("{} '{}' has a gap; write values with one comma between two", option, text));
    }
    begin = end + 1;
  }
  return out;
}

std::vector<std::string> parse_addresses(const std::string& option, const std::string& text) {
  auto out = split_list(option, text);
  std::vector<inspect::Address> known;
  for (const auto& address : out) {
    check_usage([&] { known.push_back(inspect::parse_address(address)); });
    if (known.back().port == 0) {
      throw UsageError(fmt::format("{}: '{}' names no port; write it as host:port", option, address));
    }
    if (std::find(known.begin(), known.end() - 1, known.back()) != known.end() - 1) {
      throw UsageError(fmt::format("{} names {} twice; name each server once", option, address));
    }
  }
  return out;
}

}  // namespace gradwire::cli
