#include "trainer/core_sharing.hpp"

#include <gtest/gtest.h>
#include <sched.h>

#include <cstdint>
#include <thread>
#include <utility>
#include <vector>

#include "rank_threads.hpp"
#include "trainer/agreement.hpp"

namespace gradwire::trainer {
namespace {

TEST(CoreSharing, counts_the_ranks_of_each_host) {
  const std::vector<std::uint64_t> hosts{7, std::uint64_t{7} << 48U, 7, 7};
  std::vector<int> sharing(hosts.size());
  std::vector<int> places(hosts.size());
  const auto outcomes =
      run_ranks(static_cast<int>(hosts.size()), [&](Communicator comm, const ProgressCallback&) {
        const auto rank = static_cast<std::size_t>(comm.rank());
        sharing[rank] = ranks_sharing(comm, hosts[rank]);
        places[rank] = place_among_equals(comm, hosts[rank]);
        EXPECT_EQ(values_of_all_ranks(comm, hosts[rank]), hosts);
        return TrainReport{};
      });
  for (const auto& outcome : outcomes) EXPECT_FALSE(outcome.error);
  EXPECT_EQ(sharing, (std::vector{3, 1, 3, 3}));
  EXPECT_EQ(places, (std::vector{0, 0, 1, 2}));
}

TEST(CoreSharing, every_bit_of_a_value_arrives) {
  const std::vector<std::uint64_t> values{UINT64_MAX, 0, 0x0123456789abcdefU};
  run_ranks(3, [&](Communicator comm, const ProgressCallback&) {
    EXPECT_EQ(values_of_all_ranks(comm, values[static_cast<std::size_t>(comm.rank())]), values);
    return TrainReport{};
  });
}

TEST(CoreSharing, threads_bound_to_other_cores_share_nothing) {
  const auto here = usable_cores();
  EXPECT_EQ(here, usable_cores());
  std::uint64_t other = 0;
  std::thread([&] { other = usable_cores(); }).join();
  EXPECT_EQ(other, here);

  cpu_set_t usable;
  ASSERT_EQ(::sched_getaffinity(0, sizeof(usable), &usable), 0);
  if (CPU_COUNT(&usable) < 2) GTEST_SKIP() << "only one core";
  std::thread([&] {
    cpu_set_t one;
    CPU_ZERO(&one);
    for (int core = 0; core < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++core) {
      if (CPU_ISSET(core, &usable)) CPU_SET(core, &one);
    }
    ASSERT_EQ(::sched_setaffinity(0, sizeof(one), &one), 0);
    other = usable_cores();
  }).join();
  EXPECT_NE(other, here);
}

}  // namespace
}  // namespace gradwire::trainer
