#pragma once

#include <gtest/gtest.h>

#include <string>

#include "gradwire/error.hpp"

namespace gradwire::server {

/// Expects that `call` throws an Error with this code that says `part`.
template <typename F>
void expect_error(ErrorCode code, const std::string& part, F&& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(to_string(error.code()), to_string(code)) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what() << "\nlacks " << part;
    return;
  }
  ADD_FAILURE() << "nothing was thrown that says " << part;
}

}  // namespace gradwire::server
