#include "cli/line_prefixer.hpp"

#include <gtest/gtest.h>

#include <random>

namespace gradwire::cli {
namespace {

TEST(LinePrefixer, PrefixesWholeLinesHoweverTheyAreCut) {
  const std::string text = "one\n\ntwo three\nfour";
  std::mt19937 random(3);
  for (int i = 0; i < 100; ++i) {
    LinePrefixer prefixer("[1] ");
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t size = 1 + random() % 5;
      prefixer.feed(std::string_view(text).substr(at, size), out);
      at += size;
    }
    EXPECT_EQ(out, "[1] one\n[1] \n[1] two three\n");
    prefixer.finish(out);
    EXPECT_EQ(out, "[1] one\n[1] \n[1] two three\n[1] four\n");
    prefixer.finish(out);
    EXPECT_EQ(out, "[1] one\n[1] \n[1] two three\n[1] four\n");
  }
}

TEST(LinePrefixer, CutsALineWithoutEnd) {
  LinePrefixer prefixer("> ");
  std::string out;
  const std::string endless(3 * LinePrefixer::kLongestLine, 'x');
  prefixer.feed(endless, out);
  EXPECT_EQ(out.size(), endless.size() + 3 * 3);
  prefixer.feed("\n", out);
  EXPECT_EQ(out.substr(out.size() - 4), "\n> \n");
}

}  // namespace
}  // namespace gradwire::cli
