#include "trainer/train_options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "gradwire/consistency.hpp"
#include "gradwire/error.hpp"
#include "trainer/joined.hpp"
#include "trainer/straggler.hpp"

namespace gradwire::trainer {

namespace {

void require(bool holds, std::string_view happened, std::string_view advice) {
  if (!holds) throw Error(ErrorCode::invalid_argument, happened, advice);
}

/// What only some modes can do is refused in the others, and not ignored.
void validate_mode(const TrainOptions& options) {
  const ModeOptions& modes = options.modes;
  const std::string mode = fmt::format("--mode {}", to_string(options.mode));
  const bool is_plain = options.mode == Mode::allreduce && modes.delay == 0;
  require(modes.delay == 0 || options.mode == Mode::allreduce, mode + " knows no --delay",
          "leave it out, or use --mode allreduce");
  require(modes.delay <= 1, fmt::format("--delay is {}", modes.delay), "give 0 or 1");
  require(modes.period >= 1, "--period is 0", "give 1 step or more");
  require(modes.alpha > 0 && modes.alpha <= 1, fmt::format("--alpha is {}", modes.alpha),
          "give more than 0, and 1 at most");
  require(modes.group_size >= 1, fmt::format("--group-size is {}", modes.group_size), "give 1 rank or more");
  require(is_plain || (options.checkpoint.empty() && options.resume.empty()),
          mode + (modes.delay != 0 ? " --delay 1" : "") + " writes no checkpoints",
          "use --mode allreduce for them; servers have snapshots");
  require(is_plain || options.warm_start == 0, mode + " has no --warm-start", "use it with --mode allreduce");
  require(uses_servers(options.mode) || modes.server_addresses.empty(), mode + " uses no servers",
          "leave --servers and --server-addresses out");
  require(!uses_servers(options.mode) || !modes.server_addresses.empty(), mode + " needs servers",
          "give --servers N to start some, or --server-addresses");
  const bool optimizes = options.mode != Mode::server && options.mode != Mode::groups;
  require(optimizes || options.sgd.weight_decay == 0, mode + " has no --weight-decay",
          "leave it out: the optimizer runs on the servers");
  require(outlives_ranks(options.mode) || !options.rejoin,
          mode + " has no --rejoin: it needs all ranks, always",
          "use --mode server or elastic, or checkpoints and --resume");
  (void)parse_straggler(options.straggler);
  (void)parse_consistency(modes.consistency);
  require(options.min_step_ms >= 0 && options.min_step_ms <= 3.6e6,
          fmt::format("--min-step is {}", options.min_step_ms), "give milliseconds, up to an hour");
}

}  // namespace

void validate(const TrainOptions& options) {
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
  require(options.threads >= 0 && options.threads <= kMaxThreads,
          fmt::format("--threads is {}", options.threads),
          fmt::format("give 1 to {}, or 0 to share this machine's cores", kMaxThreads));
  validate_mode(options);
  require(options.checkpoint_every == 0 || !options.checkpoint.empty(),
          "--checkpoint-every has no file to write", "give --checkpoint FILE");
}

}  // namespace gradwire::trainer
