#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "transport/transport.hpp"

namespace gradwire::transport {
namespace {

TEST(ParseRate, Units) {
  EXPECT_DOUBLE_EQ(parse_rate("100mbit"), 12.5e6);
  EXPECT_DOUBLE_EQ(parse_rate("1gbit"), 125e6);
  EXPECT_DOUBLE_EQ(parse_rate("2.5gbit"), 312.5e6);
  EXPECT_DOUBLE_EQ(parse_rate("64kbit"), 8e3);
  EXPECT_DOUBLE_EQ(parse_rate("8000bit"), 1000);
  EXPECT_DOUBLE_EQ(parse_rate("12.5MB"), 12.5e6);
  EXPECT_DOUBLE_EQ(parse_rate("1e3KB"), 1e6);
  EXPECT_DOUBLE_EQ(parse_rate("2GB"), 2e9);
  EXPECT_DOUBLE_EQ(parse_rate("700B"), 700);
}

TEST(ParseRate, HasLimits) {
  EXPECT_DOUBLE_EQ(parse_rate("1kbit"), kMinLinkRate);
  EXPECT_DOUBLE_EQ(parse_rate("10000gbit"), kMaxLinkRate);
  for (const char* text : {"1e300GB", "1e308GB", "1e-12bit", "1e-300bit", "999bit", "10001gbit", "124B"}) {
    try {
      parse_rate(text);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
      EXPECT_THAT(error.what(),
                  testing::AllOf(testing::HasSubstr(text), testing::HasSubstr("from 1kbit to")));
    }
  }
}

TEST(ParseRate, NonsenseIsRefused) {
  for (const char* text : {"", "mbit", "100", "100 mbit", "-1mbit", "0gbit", "nanmbit", "infGB", "1mbits",
                           "1MBIT", "x1mbit", "1e999mbit", "100mb"}) {
    try {
      parse_rate(text);
      ADD_FAILURE() << '\'' << text << '\'';
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << text;
    }
  }
}

}  // namespace
}  // namespace gradwire::transport
