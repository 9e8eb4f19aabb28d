#pragma once

#include <span>

#include "trainer/compute.hpp"
#include "trainer/host_view.hpp"

namespace gradwire::trainer {

/// A rank's loss as a tensor beside the gradients, to be reduced with them: every rank sees the mean, and so
/// all agree on whether it is finite, without another message.
class LossSlot {
 public:
  explicit LossSlot(Compute& compute) : slot_(compute, 1), view_(compute, slot_.span()) {}

  [[nodiscard]] std::span<float> span() noexcept { return slot_.span(); }
  void set(double loss) {
    view_.values()[0] = static_cast<float>(loss);
    view_.store();
  }
  /// Begins to bring it to the host, which get() waits for.
  void fetch() { view_.fetch(); }
  [[nodiscard]] double get() { return static_cast<double>(view_.values()[0]); }

 private:
  Floats slot_;
  HostView view_;
};

}  // namespace gradwire::trainer
