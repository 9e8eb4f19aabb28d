// Words that tell of values that are not finite, gathered into one.

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "compress/cuda/device.hpp"

namespace gradwire::compress {
namespace {

constexpr std::size_t kStride = 80;

/// Whether the flag is raised where the words are raised that `raised` numbers, out of those at `places`.
bool gathered(std::size_t count, const std::vector<std::size_t>& places,
              const std::vector<std::size_t>& raised, int rounds = 1) {
  const OwnStream stream;
  const DeviceMemory words = allocate_device(kStride * count);
  std::vector<std::byte> host(kStride * count);
  for (const std::size_t i : raised) host.at(kStride * i) = std::byte{1};
  copy_on(stream.get(), words.get(), host.data(), host.size());
  std::vector<std::uint64_t> offsets;
  offsets.reserve(places.size());
  for (const std::size_t i : places) offsets.push_back(kStride * i);
  const DeviceMemory where = allocate_device(sizeof(std::uint64_t) * offsets.size());
  copy_on(stream.get(), where.get(), offsets.data(), sizeof(std::uint64_t) * offsets.size());
  const NonFiniteFlag flag;
  for (int i = 0; i < rounds; ++i) {
    flag.clear_on(stream.get());
    flag.gather_on(stream.get(), words.get(), reinterpret_cast<const std::uint64_t*>(where.get()),
                   offsets.size());
  }
  flag.fetch_on(stream.get());
  stream.wait();
  return flag.raised();
}

class DeviceFlags : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = why_no_device(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

TEST_F(DeviceFlags, AreRaisedByAnyOfTheWords) {
  std::vector<std::size_t> all(300);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = i;
  EXPECT_FALSE(gathered(300, all, {}));
  for (const std::size_t i : {0, 1, 31, 127, 128, 129, 255, 299}) {
    EXPECT_TRUE(gathered(300, all, {i})) << i;
  }
}

TEST_F(DeviceFlags, AreNotRaisedByOtherWords) {
  EXPECT_FALSE(gathered(10, {0, 2, 9}, {1, 3, 8}));
  EXPECT_FALSE(gathered(10, {}, {1, 3, 8}));
}

TEST_F(DeviceFlags, AreGatheredOnce) {
  EXPECT_TRUE(gathered(10, {3, 4}, {3, 4}, 1));
  EXPECT_FALSE(gathered(10, {3, 4}, {3, 4}, 2));
}

}  // namespace
}  // namespace gradwire::compress
