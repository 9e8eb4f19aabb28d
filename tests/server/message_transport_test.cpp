#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "../transport/mesh.hpp"
#include "compress/codec.hpp"
#include "server/incoming_messages.hpp"
#include "server/outgoing_messages.hpp"

// Messages over links as they are, which take what they can hold and lend what has arrived.

namespace gradwire::server {
namespace {

using transport::Endpoint;
using transport::Flavor;

constexpr std::uint64_t kCount = 300'007;
constexpr std::uint64_t kPushes = 40;

std::vector<float> gradient(std::uint64_t number) {
  std::vector<float> values(kCount);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>((i + 13 * number) % 1001);
  return values;
}

void wait(Endpoint& endpoint) {
  if (!endpoint.progress()) endpoint.wait(transport::Clock::now() + transport::kSoon);
}

void push_all(Endpoint& endpoint, const compress::Codec& codec) {
  transport::Link& link = endpoint.link(1);
  OutgoingMessages out(Side::worker);
  IncomingMessages in(Side::server, "server 0");
  for (std::uint64_t number = 1; number <= kPushes; ++number) {
    auto values = std::make_shared<const std::vector<float>>(gradient(number));
    out.add({.head = write_request(Push{.sequence = number, .shard = 3, .clock = number}),
             .body = {&codec, 3, kCount, 1},
             .payloads = {std::as_bytes(std::span(*values))},
             .owner = values});
  }
  for (std::uint64_t acknowledged = 0; acknowledged < kPushes || !out.pump(link) || out.size() > 0;) {
    out.pump(link);
    if (const auto answer = in.take_answer(link)) {
      EXPECT_EQ(std::get<Accepted>(*answer).sequence, ++acknowledged);
    } else {
      wait(endpoint);
    }
  }
}

void accept_all(Endpoint& endpoint, const compress::Codec& codec) {
  transport::Link& link = endpoint.link(0);
  OutgoingMessages out(Side::server);
  IncomingMessages in(Side::worker, "worker 0");
  std::vector<float> taken(kCount);
  for (std::uint64_t number = 1; number <= kPushes; ++number) {
    std::optional<Request> request;
    while (!(request = in.take_request(link))) wait(endpoint);
    EXPECT_EQ(std::get<Push>(*request).sequence, number);
    in.expect({&codec, 3, kCount, 1});
    while (!in.take_into(link, std::as_writable_bytes(std::span(taken)))) wait(endpoint);
    EXPECT_EQ(taken, gradient(number));
    out.add({.head = write_answer(Accepted{number})});
    out.pump(link);
  }
  while (!out.pump(link) || out.size() > 0) wait(endpoint);
}

class MessageTransport : public testing::TestWithParam<Flavor> {};

TEST_P(MessageTransport, CarriesPushesWhole) {
  const auto codec = compress::make_codec("none");
  transport::expect_ranks(GetParam(), 2, [&](int rank, Endpoint& endpoint) {
    if (rank == 0) {
      push_all(endpoint, *codec);
    } else {
      accept_all(endpoint, *codec);
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Transports, MessageTransport,
                         testing::Values(Flavor{"inproc", "inproc"}, Flavor{"shm", "shm"},
                                         Flavor{"tcp", "tcp"}),
                         [](const auto& flavor) { return flavor.param.name; });

}  // namespace
}  // namespace gradwire::server
