#pragma once

#include <fmt/format.h>

#include <cmath>
#include <vector>

#include "compress/codec.hpp"
#include "history_model.hpp"
#include "history_process.hpp"

namespace gradwire::server {

/// What `process` read of a shard holds what it must, and nothing that it must not. Values are too coarse to
/// be counted where the pull codec has one bit.
inline void check_read(const HistoryModel& model, const compress::Codec& pull_codec, const Process& process,
                       const Pull& pull, const std::vector<float>& read) {
  std::vector<bool> pushed(kElements);
  const auto limit =
      static_cast<std::int64_t>(pull.clock) - static_cast<std::int64_t>(model.consistency.staleness) - 1;
  for (const ModelPush& push : model.pushes) {
    if (push.shard != pull.shard) continue;
    pushed[push.element] = true;
    const float value = read[push.element];
    const bool is_visible = value != 0;
    const auto named = [&] {
      return fmt::format("the push of worker {} stamped {} in worker {}'s pull at clock {}, value {}",
                         push.worker, push.stamp, process.number, pull.clock, value);
    };
    if (model.consistency.mode != Consistency::Mode::asp && static_cast<std::int64_t>(push.stamp) <= limit) {
      require(is_visible, "not visible: " + named());
    }
    const bool is_own = push.worker == process.number && push.session == process.session;
    if (is_own && (!model.in_step() || static_cast<std::int64_t>(push.stamp) <= limit)) {
      require(is_visible, "own write not visible: " + named());
    }
    require(is_visible == push.share.has_value(),
            (is_visible ? "applied too early: " : "applied but not there: ") + named());
    const float tolerance = pull_codec.identity() ? 0.0F : 0.01F;
    if (is_visible)
      require(std::fabs(value - *push.share) <= tolerance * *push.share, "counted wrongly: " + named());
  }
  for (std::size_t i = 0; i < kElements; ++i) {
    require(pushed[i] || read[i] == 0, "a push that was not taken is in what was pulled");
  }
}

}  // namespace gradwire::server
