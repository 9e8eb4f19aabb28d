#include "trainer/common_settings.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

namespace gradwire::trainer {
namespace {

TEST(CommonSettings, servers_take_them_whatever_they_are) {
  constexpr std::size_t kMost = 1000;
  const std::string text(300, 'x');
  TrainOptions options;
  options.codec = options.algorithm = options.straggler = text;
  options.modes.consistency = options.modes.push_codec = options.modes.pull_codec = text;
  options.modes.alpha = options.min_step_ms = options.sgd.momentum = options.sgd.learning_rate =
      options.sgd.weight_decay = 1.0F / 3;
  options.batch = options.seed = options.modes.delay = options.modes.period = options.warm_start =
      options.bucket_bytes = options.eval_every = options.checkpoint_every = std::uint64_t{1} << 63U;
  Dataset data;
  data.name = text;
  const auto settings = common_settings(options, data, std::vector<int>(50, 1000), options.seed);
  EXPECT_LE(lines_of(settings).size(), kMost);
}

}  // namespace
}  // namespace gradwire::trainer
