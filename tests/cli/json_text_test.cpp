#include "cli/json_text.hpp"

#include <gtest/gtest.h>

namespace gradwire::cli {
namespace {

TEST(JsonText, TakesNamesOfAnyBytes) {
  const nlohmann::ordered_json report{{"job", "a"}, {"folder", "caf\xE9"}};
  EXPECT_EQ(json_text(report), "{\n  \"job\": \"a\",\n  \"folder\": \"caf\xEF\xBF\xBD\"\n}\n");
}

}  // namespace
}  // namespace gradwire::cli
