#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "compress/codec.hpp"
#include "server/placement.hpp"
#include "servers.hpp"
#include "wire/header.hpp"

// What goes over the wire in a step, each way, is what docs/parameter-server.md says.
namespace gradwire {
namespace {

constexpr std::uint64_t kHeader = wire::kHeaderBytes;

/// A payload of `count` elements in frames of whole blocks.
std::uint64_t body_bytes(const std::string& spec, std::uint64_t count) {
  const auto codec = compress::make_codec(spec);
  const std::uint64_t most = wire::kMaxPayload / codec->max_payload(codec->block()) * codec->block();
  return codec->max_payload(count) + kHeader * ((count + most - 1) / most);
}

struct Case {
  const char* transport;
  const char* push;
  const char* pull;
  const char* consistency;
};

class WireBytes : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Ways, WireBytes,
                         testing::Values(Case{"shm", "none", "none", "bsp"},
                                         Case{"tcp", "none", "none", "bsp"},
                                         Case{"tcp", "onebit", "onebit", "bsp"},
                                         Case{"shm", "onebit", "bf16", "bsp"},
                                         Case{"tcp", "bf16", "onebit", "ssp:2"}));

TEST_P(WireBytes, AreThoseOfTheFormula) {
  const Case& way = GetParam();
  constexpr int kSteps = 7;
  constexpr std::uint64_t kLarge = 120'000;
  constexpr std::uint64_t kSmall = 1'000;
  const Servers servers(2, way.transport);
  auto options = servers.client(0, 1);
  options.transport = way.transport;
  options.push_codec = way.push;
  options.pull_codec = way.pull;
  options.consistency = parse_consistency(way.consistency);
  ParameterServerClient client(options);
  std::vector<float> large(kLarge);
  std::vector<float> small(kSmall);
  client.init("large", large);
  client.init("small", small);

  const auto before = client.report();
  for (int step = 0; step < kSteps; ++step) {
    const std::vector<float> gradient(kLarge, 1.0F);
    std::vector<float> copy = gradient;
    std::vector<float> little(kSmall, 1.0F);
    Work one = client.push_pull("large", copy, large);
    Work two = client.push_pull("small", little, small);
    client.clock();
    one.wait();
    two.wait();
    client.flush();
  }
  // Answered when all before is.
  std::vector<float> probe(1);
  client.init("probe", probe);
  const auto after = client.report();

  const std::uint64_t probe_sent =
      kHeader + 1 + 8 + 2 + 5 + 2 + std::string("sgd:lr=0.1").size() + 24 + body_bytes("none", 1);
  const std::uint64_t probe_received = kHeader + 1 + 8 + 4 + 8 + 8 + body_bytes("none", 1);
  std::uint64_t sent = 2 * (kHeader + 9);  // clocks
  std::uint64_t received = 0;
  const std::size_t block =
      std::max(compress::make_codec(way.push)->block(), compress::make_codec(way.pull)->block());
  auto shards = server::place_key("large", kLarge, 2, block);
  ASSERT_EQ(shards.size(), 2U);
  shards.push_back(server::place_key("small", kSmall, 2, block).at(0));
  for (const auto& shard : shards) {
    sent += kHeader + 21 + body_bytes(way.push, shard.count) + kHeader + 37;
    received += kHeader + 9 + kHeader + 30 + body_bytes(way.pull, shard.count);
  }
  EXPECT_EQ(after.wire_bytes_sent - before.wire_bytes_sent, kSteps * sent + probe_sent);
  EXPECT_EQ(after.wire_bytes_received - before.wire_bytes_received, kSteps * received + probe_received);
  EXPECT_EQ(after.pushes, kSteps * 3U);
  EXPECT_EQ(after.pulls, kSteps * 3U);
}

}  // namespace
}  // namespace gradwire
