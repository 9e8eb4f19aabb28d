#include "trainer/option_use.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

#include <fmt/format.h>

#include "gradwire/error.hpp"
#include "trainer/joined.hpp"

namespace gradwire::trainer {
namespace {

constexpr unsigned bit(Mode mode) noexcept { return 1U << static_cast<unsigned>(mode); }

constexpr unsigned kAllreduce = bit(Mode::allreduce);
constexpr unsigned kDelayed = 1U << 31U;
constexpr unsigned kServer = bit(Mode::server);
constexpr unsigned kElastic = bit(Mode::elastic);
constexpr unsigned kGroups = bit(Mode::groups);
constexpr unsigned kAveraging = bit(Mode::local) | bit(Mode::bmuf);
constexpr unsigned kWithServers = kServer | kElastic | kGroups;
/// Where ranks reduce among each other.
constexpr unsigned kReducing = kAllreduce | kDelayed | kAveraging | kGroups;
/// Where the optimizer runs on the ranks.
constexpr unsigned kStepping = kAllreduce | kDelayed | kAveraging | kElastic;
/// Where ranks may die.
constexpr unsigned kOutliving = kServer | kElastic;

constexpr std::array kUses{
    OptionUse{"--weight-decay", kStepping},
    OptionUse{"--delay", kAllreduce | kDelayed},
    OptionUse{"--period", kAveraging | kElastic},
    OptionUse{"--alpha", kElastic},
    OptionUse{"--group-size", kGroups},
    OptionUse{"--consistency", kServer},
    OptionUse{"--push-codec", kWithServers},
    OptionUse{"--pull-codec", kWithServers},
    OptionUse{"--servers", kWithServers},
    OptionUse{"--server-addresses", kWithServers},
    OptionUse{"--job", kWithServers},
    OptionUse{"--snapshot-dir", kWithServers},
    OptionUse{"--snapshot-every", kWithServers},
    OptionUse{"--restarts", kOutliving},
    OptionUse{"--rejoin", kOutliving},
    OptionUse{"--algorithm", kReducing},
    OptionUse{"--bucket-bytes", kReducing},
    OptionUse{"--no-error-feedback", kReducing},
    OptionUse{"--overlap", kAllreduce | kGroups},
    OptionUse{"--warm-start", kAllreduce},
    OptionUse{"--checkpoint", kAllreduce},
    OptionUse{"--checkpoint-every", kAllreduce},
    OptionUse{"--resume", kAllreduce},
};

std::vector<std::string> names(const OptionUse& use) {
  std::vector<std::string> out;
  const auto& all = mode_names();
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto mode = static_cast<Mode>(i);
    if ((use.modes & bit(mode)) == 0) continue;
    const bool is_plain = mode == Mode::allreduce && (use.modes & kDelayed) == 0;
    out.push_back(is_plain ? all[i] + " without --delay" : all[i]);
  }
  return out;
}

/// "a, b or c".
std::string alternatives(const std::vector<std::string>& names) {
  std::string out = names.front();
  for (std::size_t i = 1; i < names.size(); ++i) out += (i + 1 == names.size() ? " or " : ", ") + names[i];
  return out;
}

}  // namespace

std::span<const OptionUse> option_uses() { return kUses; }

std::string names_of_modes(const OptionUse& use) { return joined(names(use), ", "); }

void require_use(Mode mode, bool is_delayed, const std::vector<std::string>& given) {
  const unsigned asked = mode == Mode::allreduce && is_delayed ? kDelayed : bit(mode);
  for (const OptionUse& use : kUses) {
    if ((use.modes & asked) != 0 || std::ranges::find(given, use.option) == given.end()) continue;
    throw Error(ErrorCode::invalid_argument,
                fmt::format("--mode {}{} has no {}", to_string(mode), asked == kDelayed ? " --delay 1" : "",
                            use.option),
                fmt::format("leave it out, or use --mode {}", alternatives(names(use))));
  }
}

}  // namespace gradwire::trainer
