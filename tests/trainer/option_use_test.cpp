#include "trainer/option_use.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "gradwire/error.hpp"

namespace gradwire::trainer {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string refusal(Mode mode, bool is_delayed, const std::vector<std::string>& given) {
  try {
    require_use(mode, is_delayed, given);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    return error.what();
  }
  return "accepted";
}

TEST(OptionUse, TheDocumentationHasTheSameTable) {
  std::ifstream file(std::string(GRADWIRE_TEST_DIR) + "/../../docs/modes.md");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::string table = "| option | modes |\n|---|---|\n";
  for (const auto& use : option_uses()) {
    table += "| `" + std::string(use.option) + "` | " + names_of_modes(use) + " |\n";
  }
  EXPECT_THAT(text, HasSubstr(table + "\n"));
}

TEST(OptionUse, EveryOptionIsThereOnceAndIsOfUseToSomebody) {
  std::set<std::string_view> seen;
  for (const auto& use : option_uses()) {
    EXPECT_TRUE(seen.insert(use.option).second) << use.option;
    EXPECT_NE(names_of_modes(use), "") << use.option;
  }
}

TEST(OptionUse, RefusesWhatTheModeHasNoUseForAndTellsWhichHave) {
  EXPECT_EQ(refusal(Mode::elastic, false, {"--codec", "--period", "--alpha"}), "accepted");
  EXPECT_THAT(refusal(Mode::elastic, false, {"--codec", "--consistency"}),
              AllOf(HasSubstr("--mode elastic has no --consistency"), HasSubstr("use --mode server")));
  EXPECT_THAT(refusal(Mode::server, false, {"--period"}), HasSubstr("use --mode local, bmuf or elastic"));
}

TEST(OptionUse, ADelayIsAWayOfItsOwn) {
  for (const char* option : {"--overlap", "--warm-start", "--checkpoint"}) {
    EXPECT_EQ(refusal(Mode::allreduce, false, {option}), "accepted");
    EXPECT_THAT(refusal(Mode::allreduce, true, {"--delay", option}),
                AllOf(HasSubstr(std::string("--mode allreduce --delay 1 has no ") + option),
                      HasSubstr("use --mode allreduce without --delay")));
  }
  EXPECT_EQ(refusal(Mode::allreduce, true, {"--delay", "--algorithm", "--weight-decay"}), "accepted");
}

}  // namespace
}  // namespace gradwire::trainer
