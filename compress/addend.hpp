#pragma once

#include <cstddef>

namespace gradwire::compress {

/// A payload of the same codec that is added to the values before they are encoded. Null: nothing.
struct Addend {
  const std::byte* payload = nullptr;
  float factor = 1;
};

}  // namespace gradwire::compress
