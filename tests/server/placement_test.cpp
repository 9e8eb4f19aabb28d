#include "server/placement.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace gradwire::server {
namespace {

TEST(Placement, CoversEveryElementOnce) {
  for (const std::uint32_t servers : {1U, 2U, 3U, 7U, 16U}) {
    for (const std::size_t block : {16U, 256U, 65'536U}) {
      for (const std::uint64_t total : {1U, 15U, 16U, 16'383U, 16'384U, 32'767U, 32'768U, 50'001U, 114'688U,
                                        262'144U, 262'145U, 5'000'001U}) {
        std::uint64_t next = 0;
        std::set<std::uint32_t> used;
        for (const ShardPlace& place : place_key("weights", total, servers, block)) {
          EXPECT_EQ(place.first, next);
          EXPECT_EQ(place.first % block, 0U);
          EXPECT_GT(place.count, 0U);
          EXPECT_LT(place.server, servers);
          EXPECT_TRUE(used.insert(place.server).second);
          next = place.first + place.count;
        }
        EXPECT_EQ(next, total) << servers << " servers, block " << block;
      }
    }
  }
}

TEST(Placement, SplitsFromTheThresholdOn) {
  EXPECT_EQ(place_key("weights", 4 * kSmallestShard - 1, 4, 256).size(), 1U);
  EXPECT_EQ(place_key("weights", 4 * kSmallestShard, 4, 256).size(), 4U);
}

TEST(Placement, ShardsDifferByABlockAtMost) {
  const auto places = place_key("weights", 1000 * 256, 3, 256);
  ASSERT_EQ(places.size(), 3U);
  const auto [least, most] = std::minmax_element(
      places.begin(), places.end(), [](const auto& a, const auto& b) { return a.count < b.count; });
  EXPECT_LE(most->count - least->count, 256U);
}

TEST(Placement, SpreadsSmallKeysByTheirNames) {
  std::vector<int> keys(4);
  for (int i = 0; i < 400; ++i)
    ++keys[place_key("layer" + std::to_string(i) + ".bias", 10, 4, 256)[0].server];
  for (const int count : keys) EXPECT_GT(count, 50);
}

/// A key must be where it was after an update of the library.
TEST(Placement, NeverMoves) {
  EXPECT_EQ(place_key("fc1.weight", 100, 5, 256)[0].server, 0U);
  const auto places = place_key("fc1.weight", 100'000, 3, 256);
  EXPECT_EQ(places, (std::vector<ShardPlace>{{0, 0, 33'536}, {1, 33'536, 33'280}, {2, 66'816, 33'184}}));
}

TEST(Placement, HugeSizesDoNotOverflow) {
  const std::uint64_t huge = UINT64_MAX - 65'536;
  const auto places = place_key("weights", huge, 3, 65'536);
  ASSERT_EQ(places.size(), 3U);
  EXPECT_EQ(places[2].first + places[2].count, huge);
}

TEST(Placement, NothingHasNoPlace) { EXPECT_TRUE(place_key("weights", 0, 3, 256).empty()); }

}  // namespace
}  // namespace gradwire::server
