#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "gradwire/communicator.hpp"
#include "gradwire/inspect.hpp"
#include "local_world.hpp"
#include "tests/support/every_algorithm.hpp"
#include "tests/support/normal_floats.hpp"

// Ranks that share hosts, over the transports that `auto` takes between and inside them.

namespace gradwire {
namespace {

using testing::ElementsAre;

/// Hosts by name, as GRADWIRE_HOSTID gives them.
auto on_hosts(const std::vector<std::string>& names) {
  return [&names](CommunicatorOptions& options) {
    options.transport = "auto";
    options.interface = "127.0.0.1";
    options.host_id = names[static_cast<std::size_t>(options.rank)];
  };
}

TEST(Hosts, AreNumberedAsTheirFirstRanksCome) {
  const std::vector<std::string> names{"b", "a", "b", "c"};
  expect_ranks(
      4,
      [](Communicator& communicator) {
        EXPECT_THAT(communicator.hosts(), ElementsAre(0, 1, 0, 2));
        if (communicator.rank() == 0) {
          EXPECT_EQ(communicator.transport_to(1), "tcp");
          EXPECT_EQ(communicator.transport_to(2), "shm");
        }
        const Communicator half = communicator.split(communicator.rank() / 2);
        EXPECT_THAT(half.hosts(), ElementsAre(0, 1));
      },
      on_hosts(names));
}

TEST(Hosts, OfThreadsAreOne) {
  expect_ranks(3,
               [](Communicator& communicator) { EXPECT_THAT(communicator.hosts(), ElementsAre(0, 0, 0)); });
  EXPECT_THAT(Communicator().hosts(), ElementsAre(0));
}

TEST(Hosts, AreTheRanksBehindLinksOfARate) {
  const auto slow = [](CommunicatorOptions& options) {
    options.transport = "tcp";
    options.interface = "127.0.0.1";
    options.link_rate = "1gbit";
  };
  expect_ranks(
      2, [](Communicator& communicator) { EXPECT_THAT(communicator.hosts(), ElementsAre(0, 1)); }, slow);
}

TEST(Hosts, AreTheSameToAllWhereOneLinkIsSlow) {
  const auto slow = [](CommunicatorOptions& options) {
    options.transport = "auto";
    options.interface = "127.0.0.1";
    if (options.rank == 1) options.link_rate = "1gbit";
  };
  expect_ranks(
      3, [](Communicator& communicator) { EXPECT_THAT(communicator.hosts(), ElementsAre(0, 1, 0)); }, slow);
}

class OverHosts : public testing::TestWithParam<std::string> {};

TEST_P(OverHosts, EqualsTheOracleAndKeepsWhatItCanInside) {
  const std::vector<std::string> names{"x", "y", "x", "x", "z", "y"};
  const std::vector<int> hosts{0, 1, 0, 0, 2, 1};
  constexpr std::size_t kCount = 50'000;
  for (const char* codec : {"none", "fp16", "onebit"}) {
    std::vector<std::vector<float>> inputs;
    for (unsigned rank = 0; rank < names.size(); ++rank) inputs.push_back(normal_floats(kCount, 5 + rank));
    std::vector<std::vector<float>> residuals(names.size(), std::vector<float>(kCount, 0.25F));
    auto expected_residuals = residuals;
    const auto expected =
        inspect::oracle_allreduce(GetParam(), codec, true, inputs, expected_residuals, hosts);
    expect_ranks(
        6,
        [&](Communicator& communicator) {
          const auto rank = static_cast<std::size_t>(communicator.rank());
          auto values = inputs[rank];
          const std::vector<OperationTensor> tensors{
              {.tensor = Tensor(std::span(values)), .residual = residuals[rank]}};
          Plan plan = communicator.plan_allreduce(tensors,
                                                  {.codec = codec, .algorithm = GetParam(), .average = true});
          plan.run();
          // NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): it is about the bits
          EXPECT_EQ(std::memcmp(values.data(), expected.data(), kCount * sizeof(float)), 0) << codec;
          EXPECT_EQ(residuals[rank], expected_residuals[rank]) << codec;
          const bool is_alone = communicator.rank() == 4;  // on its host
          EXPECT_EQ(plan.wire_bytes_inside() == 0, is_alone);
          EXPECT_LT(plan.wire_bytes_inside(), plan.wire_bytes());
        },
        on_hosts(names));
  }
}

std::vector<std::string> hierarchical_names() {
  std::vector<std::string> names{"auto", "hierarchical"};
  for (const auto& name : algorithm_names()) {
    if (name.starts_with("hierarchical")) names.push_back(name);
  }
  return names;
}

INSTANTIATE_TEST_SUITE_P(Between, OverHosts, testing::ValuesIn(hierarchical_names()),
                         [](const auto& instance) { return identifier(instance.param); });

}  // namespace
}  // namespace gradwire
