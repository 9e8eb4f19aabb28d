#pragma once

#include <span>

#include "collectives/cell_arithmetic.hpp"
#include "compress/cuda/device.hpp"

namespace gradwire::collectives {

/// What becomes of tensors on devices where something was not finite.
class DeviceNan {
 public:
  DeviceNan();

  /// Every tensor becomes NaN, and the residual the next one, on a stream, by copies alone.
  void void_on(compress::Stream stream, std::span<const Buffer> buffers) const;

 private:
  compress::PinnedMemory nans_;  ///< of each type, as many bytes
};

}  // namespace gradwire::collectives
