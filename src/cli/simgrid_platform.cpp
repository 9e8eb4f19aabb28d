#include "cli/simgrid_platform.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string_view>
#include <system_error>
#include <utility>

#include "gradwire/error.hpp"

namespace gradwire::cli {
namespace {

constexpr std::size_t kMostHosts = std::size_t{1} << 20U;
constexpr std::size_t kLargestFile = std::size_t{64} << 20U;

/// SimGrid's prefixes of "f", floating-point operations a second.
constexpr std::array<std::pair<char, double>, 6> kPrefixes{
    {{'k', 1e3}, {'M', 1e6}, {'G', 1e9}, {'T', 1e12}, {'P', 1e15}, {'E', 1e18}}};

using Attributes = std::map<std::string, std::string, std::less<>>;

class PlatformReader {
 public:
  explicit PlatformReader(const std::string& file) : file_(file), text_(read(file)) {}

  SimgridPlatform read_hosts() {
    std::string_view rest = text_;
    while (true) {
      const auto open = rest.find('<');
      if (open == std::string_view::npos) break;
      rest.remove_prefix(open + 1);
      const bool comment = rest.starts_with("!--");
      const auto close = rest.find(comment ? "-->" : ">");
      if (close == std::string_view::npos) refuse("ends within a tag");
      if (!comment) take(rest.substr(0, close));
      rest.remove_prefix(close);
    }
    if (is_open_) refuse("ends before its </platform>");
    if (platform_.hosts.empty()) refuse("has no <host> and no <cluster>");
    return std::move(platform_);
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(ErrorCode::invalid_argument, fmt::format("the platform '{}' {}", file_, what),
                "name a platform file of SimGrid's, such as bench/platforms/switch-1gbit.xml");
  }

  std::string read(const std::string& file) const {
    std::error_code ignored;
    const auto size = std::filesystem::file_size(file, ignored);
    // To open what is no file may wait for somebody to write.
    if (ignored || size > kLargestFile) refuse("cannot be read, or is too large to be one");
    std::ifstream in(file, std::ios::binary);
    if (!in.is_open()) refuse("cannot be read");
    return {std::istreambuf_iterator<char>(in), {}};
  }

  void take(std::string_view tag) {
    const auto is = [&](std::string_view name) {
      return tag.starts_with(name) && tag.size() > name.size() &&
             std::isspace(static_cast<unsigned char>(tag[name.size()])) != 0;
    };
    if (is("host")) {
      const Attributes attributes = attributes_of(tag);
      add(require(attributes, "id"), require(attributes, "speed"));
    } else if (is("cluster")) {
      add_cluster(attributes_of(tag));
    } else if (is("platform")) {
      is_open_ = true;
    } else if (tag.starts_with("/platform")) {
      is_open_ = false;
    }
  }

  [[nodiscard]] Attributes attributes_of(std::string_view tag) const {
    Attributes attributes;
    for (auto equals = tag.find('='); equals != std::string_view::npos; equals = tag.find('=')) {
      std::string_view name = tag.substr(0, equals);
      while (!name.empty() && std::isspace(static_cast<unsigned char>(name.back())) != 0)
        name.remove_suffix(1);
      name.remove_prefix(std::min(name.find_last_of(" \t\r\n") + 1, name.size()));
      const auto quote = tag.find_first_of("\"'", equals);
      const auto end = quote == std::string_view::npos ? quote : tag.find(tag[quote], quote + 1);
      if (end == std::string_view::npos) refuse(fmt::format("has a value of '{}' without quotes", name));
      attributes[std::string(name)] = std::string(tag.substr(quote + 1, end - quote - 1));
      tag.remove_prefix(end + 1);
    }
    return attributes;
  }

  [[nodiscard]] const std::string& require(const Attributes& attributes, std::string_view name) const {
    const auto found = attributes.find(name);
    if (found == attributes.end()) refuse(fmt::format("has a host without '{}'", name));
    return found->second;
  }

  void add(std::string name, const std::string& speed) {
    const double flops = parse_speed(speed);
    if (!platform_.hosts.empty() && flops != platform_.flops) {
      refuse("has hosts of several speeds, which one trace does not fit");
    }
    if (platform_.hosts.size() == kMostHosts) refuse("has too many hosts");
    platform_.flops = flops;
    platform_.hosts.push_back(std::move(name));
  }

  /// "0-15,20": the numbers between prefix and suffix.
  void add_cluster(const Attributes& attributes) {
    const std::string& prefix = require(attributes, "prefix");
    const std::string& suffix = require(attributes, "suffix");
    const std::string& speed = require(attributes, "speed");
    std::string_view ranges = require(attributes, "radical");
    while (!ranges.empty()) {
      const std::string_view range = ranges.substr(0, ranges.find(','));
      ranges.remove_prefix(std::min(range.size() + 1, ranges.size()));
      const auto dash = range.find('-');
      const std::size_t first = parse_number(range.substr(0, dash));
      const std::size_t last = dash == std::string_view::npos ? first : parse_number(range.substr(dash + 1));
      if (last < first || last - first >= kMostHosts) refuse(fmt::format("has a radical of '{}'", range));
      for (std::size_t i = first; i <= last; ++i) add(fmt::format("{}{}{}", prefix, i, suffix), speed);
    }
  }

  [[nodiscard]] std::size_t parse_number(std::string_view text) const {
    std::size_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end != text.data() + text.size()) {
      refuse(fmt::format("has '{}' where a host's number should be", text));
    }
    return number;
  }

  /// "1Gf"; of a list, one for each state of the processor, the first.
  [[nodiscard]] double parse_speed(std::string_view text) const {
    const std::string_view first = text.substr(0, text.find(','));
    double number = 0;
    const auto [unit, error] = std::from_chars(first.data(), first.data() + first.size(), number);
    std::string_view rest(unit, static_cast<std::size_t>(first.data() + first.size() - unit));
    for (const auto& [prefix, factor] : kPrefixes) {
      if (!rest.starts_with(prefix)) continue;
      number *= factor;
      rest.remove_prefix(1);
      break;
    }
    const bool good = error == std::errc{} && (rest == "f" || rest == "flops" || rest.empty());
    if (!good || !std::isfinite(number) || number <= 0) {
      refuse(fmt::format("has a host of speed '{}'", text));
    }
    return number;
  }

  const std::string& file_;
  std::string text_;
  bool is_open_ = false;
  SimgridPlatform platform_;
};

}  // namespace

SimgridPlatform read_simgrid_platform(const std::string& file) { return PlatformReader(file).read_hosts(); }

}  // namespace gradwire::cli
