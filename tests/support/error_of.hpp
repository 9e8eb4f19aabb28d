#pragma once

#include <optional>

#include "gradwire/error.hpp"

namespace gradwire {

/// The Error that `action` throws, if it throws one.
template <typename Action>
std::optional<Error> error_of(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

}  // namespace gradwire
