#include "trainer/training_mode.hpp"

#include <cmath>

#include <fmt/format.h>

#include "trainer/modes/allreduce_mode.hpp"
#include "trainer/modes/delayed_mode.hpp"
#include "trainer/modes/elastic_mode.hpp"
#include "trainer/modes/groups_mode.hpp"
#include "trainer/modes/model_averaging_mode.hpp"
#include "trainer/modes/server_mode.hpp"

namespace gradwire::trainer {

Error diverged(const std::string& what, std::uint64_t step) {
  return {ErrorCode::non_finite, fmt::format("{} in step {}", what, step + 1),
          "lower --lr, or look for broken inputs"};
}

void require_finite_loss(double loss, std::uint64_t step) {
  if (std::isfinite(loss)) return;
  throw diverged(fmt::format("the loss became {}", std::isnan(loss) ? "NaN" : "infinite"), step);
}

void require_finite_gradients(bool finite, std::uint64_t step) {
  if (!finite) throw diverged("a gradient became NaN or infinite", step);
}

std::unique_ptr<TrainingMode> make_mode(const ModeContext& context) {
  switch (context.options.mode) {
    case Mode::allreduce:
      if (context.options.modes.delay != 0) return std::make_unique<DelayedMode>(context);
      return std::make_unique<AllreduceMode>(context);
    case Mode::server: return std::make_unique<ServerMode>(context);
    case Mode::local:
    case Mode::bmuf: return std::make_unique<ModelAveragingMode>(context);
    case Mode::elastic: return std::make_unique<ElasticMode>(context);
    case Mode::groups: return std::make_unique<GroupsMode>(context);
  }
  throw Error(ErrorCode::unsupported, "a mode that nobody wrote", "use one of those that --help lists");
}

}  // namespace gradwire::trainer
