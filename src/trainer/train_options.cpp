#include "trainer/train_options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "gradwire/error.hpp"
#include "trainer/joined.hpp"

namespace gradwire::trainer {

namespace {

void require(bool holds, std::string_view happened, std::string_view advice) {
  if (!holds) throw Error(ErrorCode::invalid_argument, happened, advice);
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
  require(options.checkpoint_every == 0 || !options.checkpoint.empty(),
          "--checkpoint-every has no file to write", "give --checkpoint FILE");
}

}  // namespace gradwire::trainer
