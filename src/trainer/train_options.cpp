#include "trainer/train_options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "gradwire/consistency.hpp"
#include "gradwire/error.hpp"
#include "trainer/counted.hpp"
#include "trainer/device_choice.hpp"
#include "trainer/joined.hpp"
#include "trainer/option_use.hpp"
#include "trainer/straggler.hpp"

namespace gradwire::trainer {

namespace {

void require(bool holds, std::string_view happened, std::string_view advice) {
  if (!holds) throw Error(ErrorCode::invalid_argument, happened, advice);
}

/// What was asked for and must not be left undone in silence.
std::vector<std::string> asked_for(const TrainOptions& options) {
  std::vector<std::string> out;
  const auto add = [&](bool is_asked_for, const char* option) {
    if (is_asked_for) out.emplace_back(option);
  };
  add(options.modes.delay != 0, "--delay");
  add(!options.checkpoint.empty(), "--checkpoint");
  add(!options.resume.empty(), "--resume");
  add(options.warm_start != 0, "--warm-start");
  add(options.sgd.weight_decay != 0, "--weight-decay");
  add(!options.modes.server_addresses.empty(), "--server-addresses");
  add(options.rejoin, "--rejoin");
  return out;
}

void validate_mode(const TrainOptions& options, int ranks) {
  const ModeOptions& modes = options.modes;
  require_use(options.mode, modes.delay != 0, asked_for(options));
  require(modes.delay <= 1, fmt::format("--delay is {}", modes.delay), "give 0 or 1");
  require(modes.period >= 1, "--period is 0", "give 1 step or more");
  require(modes.alpha > 0 && modes.alpha <= 1, fmt::format("--alpha is {}", modes.alpha),
          "give more than 0, and 1 at most");
  require(modes.group_size >= 1, fmt::format("--group-size is {}", modes.group_size), "give 1 rank or more");
  // Servers weigh groups alike.
  require(options.mode != Mode::groups || ranks % modes.group_size == 0,
          fmt::format("--group-size is {}, and the job has {}", modes.group_size,
                      counted(static_cast<std::uint64_t>(ranks), "rank")),
          "give a size that cuts them into groups of one size");
  require(!uses_servers(options.mode) || !modes.server_addresses.empty(),
          fmt::format("--mode {} needs servers", to_string(options.mode)),
          "give --servers N to start some, or --server-addresses");
  const int slow = parse_straggler(options.straggler).rank;
  require(slow < ranks,
          fmt::format("--straggler {} slows rank {}, and the job has {}", options.straggler, slow,
                      counted(static_cast<std::uint64_t>(ranks), "rank")),
          "ranks are numbered from 0: give one that there is");
  (void)parse_consistency(modes.consistency);
  require(options.min_step_ms >= 0 && options.min_step_ms <= 3.6e6,
          fmt::format("--min-step is {}", options.min_step_ms), "give milliseconds, up to an hour");
}

}  // namespace

void validate(const TrainOptions& options, int ranks) {
  constexpr std::size_t kMaxBatch = 1U << 20U;
  constexpr int kMaxThreads = 1024;
  constexpr int kMaxWidth = 1 << 16U;
  require(options.batch >= 1 && options.batch <= kMaxBatch, fmt::format("--batch is {}", options.batch),
          fmt::format("give 1 to {} samples per rank", kMaxBatch));
  require(std::ranges::all_of(options.hidden, [](int width) { return width >= 1 && width <= kMaxWidth; }),
          fmt::format("--hidden is {}", joined(options.hidden, ",")),
          fmt::format("give widths from 1 to {}, --hidden 512,512 say", kMaxWidth));
  require(std::isfinite(options.sgd.learning_rate) && options.sgd.learning_rate > 0,
          fmt::format("--lr is {}", options.sgd.learning_rate), "give a learning rate above 0");
  require(options.sgd.momentum >= 0 && options.sgd.momentum < 1,
          fmt::format("--momentum is {}", options.sgd.momentum), "give at least 0 and less than 1");
  require(std::isfinite(options.sgd.weight_decay) && options.sgd.weight_decay >= 0,
          fmt::format("--weight-decay is {}", options.sgd.weight_decay), "give 0 or more");
  require(options.epochs >= 1 || options.steps >= 1, "there is nothing to train", "give --epochs or --steps");
  (void)parse_device(options.device);
  require(options.threads >= 0 && options.threads <= kMaxThreads,
          fmt::format("--threads is {}", options.threads),
          fmt::format("give 1 to {}, or 0 to share this machine's cores", kMaxThreads));
  validate_mode(options, ranks);
  require(options.checkpoint_every == 0 || !options.checkpoint.empty(),
          "--checkpoint-every has no file to write", "give --checkpoint FILE");
}

}  // namespace gradwire::trainer
