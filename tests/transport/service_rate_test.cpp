#include <gtest/gtest.h>

#include <algorithm>

#include "service_host.hpp"

// A service's emulated link, measured from outside: all its callers share it.

namespace gradwire::transport {
namespace {

using Seconds = std::chrono::duration<double>;

constexpr double kRate = 12.5e6;
constexpr std::uint64_t kFrames = 40;
constexpr std::uint64_t kWire = wire::kHeaderBytes + wire::kMaxPayload;

ServiceOptions rated(ServiceOptions options, bool has_rate) {
  options.link_rate = has_rate ? kRate : 0;
  return options;
}

/// Sends frames without waiting for those that come back, so that both directions are busy.
void stream(Endpoint& endpoint) {
  const std::vector<std::byte> payload(wire::kMaxPayload, std::byte{7});
  Link& link = endpoint.link(1);
  std::uint64_t sent = 0;
  std::uint64_t taken = 0;
  while (taken < kFrames || link.completed() < sent) {
    bool moved = endpoint.progress();
    for (; sent < kFrames && link.try_send({}, payload); ++sent) moved = true;
    for (; link.front() != nullptr; ++taken, moved = true) link.pop();
    if (!moved) endpoint.wait(Clock::now() + kSoon);
  }
}

enum class Links : std::uint8_t { service, callers, host_of_callers };

/// How long three callers need to have their frames sent back, against what one link at kRate would.
double ratio_of_three(Links links, double& least_share) {
  const Way way{"", "auto", "127.0.0.1"};
  EchoHost host(rated(service_options(way), links == Links::service));
  const auto shared = links == Links::host_of_callers ? make_link_rate(kRate) : nullptr;
  std::vector<double> ends(3);
  std::vector<std::function<void()>> calls;
  calls.reserve(ends.size());
  for (auto& end : ends) {
    calls.emplace_back([&] {
      // tcp in any case, so that a caller without a rate of its own gets through
      auto options = rated(caller_options(way, host.address()), links != Links::service);
      options.shared_link = shared;
      options.kind = "tcp";
      call(options, [&](Endpoint& endpoint) {
        const auto begin = Clock::now();
        stream(endpoint);
        end = Seconds(Clock::now() - begin).count();
      });
    });
  }
  const auto begin = Clock::now();
  host.serve_while(calls);
  least_share = *std::ranges::min_element(ends) / *std::ranges::max_element(ends);
  const double wire_bytes =
      0.75 * static_cast<double>(ends.size() * kFrames * kWire);  // half are half as long
  return Seconds(Clock::now() - begin).count() * kRate / wire_bytes;
}

class SharedLink : public testing::TestWithParam<Links> {};
INSTANTIATE_TEST_SUITE_P(Sides, SharedLink, testing::Values(Links::service, Links::host_of_callers),
                         [](const auto& test) {
                           return test.param == Links::service ? "service" : "host_of_callers";
                         });

TEST_P(SharedLink, IsAsFastAsOneForAllThatShareIt) {
  constexpr int kAttempts = 4;
  double ratio = 10;
  double share = 0;
  // Other work on the machine only ever adds time.
  for (int i = 0; i < kAttempts && (ratio > 2 || share < 0.5); ++i) {
    ratio = ratio_of_three(GetParam(), share);
    ASSERT_GT(ratio, 0.95) << "faster than the link";
  }
  EXPECT_LT(ratio, 2) << "slower than the link";
  EXPECT_GT(share, 0.5) << "not all had their turn";
}

TEST(ServiceRate, ACallersLinkIsItsOwn) {
  double share = 0;
  const double ratio = ratio_of_three(Links::callers, share);
  EXPECT_LT(ratio, 0.95) << "three links are faster than one";
}

}  // namespace
}  // namespace gradwire::transport
