#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "gradwire/communicator.hpp"
#include "gradwire/error.hpp"
#include "local_world.hpp"
#include "runtime/split_id.hpp"
#include "wire/hello.hpp"

namespace gradwire {
namespace {

using testing::Each;

TEST(Split, RanksOfOneColorAreACommunicator) {
  expect_ranks(5, [](Communicator& communicator) {
    const int color = communicator.rank() % 2;
    Communicator half = communicator.split(color);
    EXPECT_EQ(half.world_size(), color == 0 ? 3 : 2);
    EXPECT_EQ(half.rank(), communicator.rank() / 2);
    std::vector<float> values(1000, static_cast<float>(communicator.rank()));
    half.allreduce(std::span(values));
    EXPECT_THAT(values, Each(color == 0 ? 6.0F : 4.0F));
    // Neither is in the other's way.
    std::vector<float> all(10, 1.0F);
    communicator.allreduce(std::span(all));
    EXPECT_THAT(all, Each(5.0F));
  });
}

TEST(Split, MayBeOfOneRankAndMadeAgain) {
  expect_ranks(3, [](Communicator& communicator) {
    Communicator alone = communicator.split(communicator.rank());
    EXPECT_EQ(alone.world_size(), 1);
    Communicator again = communicator.split(7);
    Communicator inner = again.split(7);
    EXPECT_EQ(inner.rank(), communicator.rank());
    inner.barrier();
    EXPECT_THROW((void)communicator.split(-1), Error);
  });
}

TEST(Split, HasNoServicesId) {
  // The hash of this one is 0xFFFFFFFF.
  EXPECT_EQ(runtime::split_id(3, 0, 10'910'411), 0x80000000U);
  EXPECT_NE(runtime::split_id(3, 0, 10'910'410), runtime::split_id(3, 1, 10'910'410));
  CommunicatorOptions options;
  options.id = wire::kServiceCommunicator;
  try {
    const Communicator communicator(options);
    ADD_FAILURE() << "it is taken for a service";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << error.what();
  }
}

}  // namespace
}  // namespace gradwire
