#include "gradwire/consistency.hpp"

#include <gtest/gtest.h>

#include "expect_error.hpp"

namespace gradwire::server {
namespace {

TEST(Consistency, ReadsWhatItWrites) {
  for (const std::string text : {"bsp", "ssp:0", "ssp:3", "ssp:4294967295", "asp"}) {
    EXPECT_EQ(to_string(parse_consistency(text)), text);
  }
  EXPECT_EQ(parse_consistency("ssp:3"), (Consistency{Consistency::Mode::ssp, 3}));
}

TEST(Consistency, TellsWhatIsInStep) {
  EXPECT_TRUE(parse_consistency("bsp").is_synchronous());
  EXPECT_TRUE(parse_consistency("ssp:0").is_synchronous());
  EXPECT_FALSE(parse_consistency("ssp:1").is_synchronous());
  EXPECT_FALSE(parse_consistency("asp").is_synchronous());
}

TEST(Consistency, RefusesTheRestWithTheListOfWhatIsAllowed) {
  for (const std::string text :
       {"", "BSP", "bsp:1", "ssp", "ssp:", "ssp:-1", "ssp:1x", "ssp: 1", "ssp:4294967296", "asp:2"}) {
    expect_error(ErrorCode::invalid_argument, "allowed: bsp, ssp:CLOCKS", [&] { parse_consistency(text); });
  }
}

}  // namespace
}  // namespace gradwire::server
