#pragma once

namespace gradwire::trainer {

struct SgdOptions {
  float learning_rate = 0.1F;
  float momentum = 0.5F;  ///< more makes the lag of residuals felt: docs/training.md
  float weight_decay = 0;
};

}  // namespace gradwire::trainer
