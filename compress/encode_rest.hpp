#pragma once

#include <cstddef>

#include "compress/addend.hpp"
#include "compress/codec.hpp"

namespace gradwire::compress {

/// What is left of an encoding after its first `done` elements.
inline Encode from(Encode in, std::size_t done) noexcept {
  in.value += done;
  if (in.residual != nullptr) in.residual += done;
  if (in.residual_out != nullptr) in.residual_out += done;
  in.count -= done;
  return in;
}

/// The same for what is added: its payload from byte `offset` on.
inline Addend from(Addend addend, std::size_t offset) noexcept {
  if (addend.payload != nullptr) addend.payload += offset;
  return addend;
}

}  // namespace gradwire::compress
