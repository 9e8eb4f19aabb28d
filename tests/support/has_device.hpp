#pragma once

#include "compress/cuda/device.hpp"
#include "gradwire/error.hpp"

namespace gradwire {

/// Whether kernels run here, and there is a CUDA device of that number.
inline bool has_device(int number) {
  if (!compress::why_no_device().empty()) return false;
  try {
    const compress::UseDevice here(number);
  } catch (const Error&) {
    return false;
  }
  return true;
}

}  // namespace gradwire
