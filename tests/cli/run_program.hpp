#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/shell.hpp"

namespace gradwire::cli {

/// The program with these arguments, as a user's shell runs it; what it says on stderr is part of its output.
inline Ended gradwire(const std::string& arguments, const std::string& environment = "") {
  return shell(environment + " '" GRADWIRE_PROGRAM "' " + arguments + " 2>&1 </dev/null");
}

/// What a program that must have succeeded has printed.
inline nlohmann::json parse(const Ended& ended) {
  EXPECT_EQ(ended.status, 0) << ended.out;
  return nlohmann::json::parse(ended.out, nullptr, false);
}

}  // namespace gradwire::cli
