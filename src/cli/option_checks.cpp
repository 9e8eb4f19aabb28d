#include "cli/option_checks.hpp"

#include <fmt/format.h>

#include <functional>
#include <string>
#include <utility>

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

CLI::Validator named() {
  return silent([](const std::string& text) {
    return text.empty() ? "the name is empty; give one, or leave the option out" : std::string();
  });
}

}  // namespace gradwire::cli
