#include "trainer/common_settings.hpp"

#include <fmt/format.h>

#include "trainer/counted.hpp"
#include "trainer/joined.hpp"

namespace gradwire::trainer {

std::vector<Setting> common_settings(const TrainOptions& options, const Dataset& data,
                                     const std::vector<int>& widths, std::uint64_t total_steps) {
  return {{"--data", data.name},
          {"training images", fmt::to_string(data.train.count())},
          {"test images", fmt::to_string(data.test.count())},
          {"--hidden", joined(widths, "-")},
          {"--batch", fmt::to_string(options.batch)},
          {"--lr", fmt::to_string(options.sgd.learning_rate)},
          {"--momentum", fmt::to_string(options.sgd.momentum)},
          {"--weight-decay", fmt::to_string(options.sgd.weight_decay)},
          {"--epochs or --steps", counted(total_steps, "step")},
          {"--seed", fmt::to_string(options.seed)},
          {"--mode", to_string(options.mode)},
          {"--delay", fmt::to_string(options.modes.delay)},
          {"--period", fmt::to_string(options.modes.period)},
          {"--alpha", fmt::to_string(options.modes.alpha)},
          {"--group-size", fmt::to_string(options.modes.group_size)},
          {"--consistency", options.modes.consistency},
          {"--push-codec", options.modes.push_codec},
          {"--pull-codec", options.modes.pull_codec},
          {"--codec", options.codec},
          {"--algorithm", options.algorithm},
          {"--no-error-feedback", options.error_feedback ? "left out" : "given"},
          {"--warm-start", fmt::to_string(options.warm_start)},
          {"--overlap", options.overlap ? "given" : "left out"},
          {"--bucket-bytes", fmt::to_string(options.bucket_bytes)},
          {"--straggler", options.straggler.empty() ? "left out" : options.straggler},
          {"--min-step", fmt::to_string(options.min_step_ms)},
          {"--eval-every", fmt::to_string(options.eval_every)},
          {"--checkpoint", options.checkpoint.empty() ? "left out" : "given"},
          {"--checkpoint-every", fmt::to_string(options.checkpoint_every)},
          {"--resume", options.resume.empty() ? "left out" : "given"}};
}

}  // namespace gradwire::trainer
