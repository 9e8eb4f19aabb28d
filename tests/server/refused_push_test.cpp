// A push that was refused is not taken for one that was acknowledged, wherever the connection was cut.

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "expect_error.hpp"
#include "scripted_server.hpp"
#include "server_calls.hpp"
#include "server_process.hpp"
#include "servers.hpp"

namespace gradwire::server {
namespace {

constexpr std::size_t kCount = 100;

/// A worker's connection, message by message.
class Connection {
 public:
  explicit Connection(const std::string& address)
      : endpoint_(transport::call_service({.address = address, .job = "servers"})),
        link_(endpoint_->link(1)) {}

  void send(const Request& request) { send({write_request(request)}); }
  /// With what follows it, of shard 0.
  void send(const Request& request, const Payload& values) {
    send({write_request(request), {plain_.get(), 0, kCount, 1}, {values}});
  }

  /// The next answer, which has to be such a one.
  template <typename T>
  T take() {
    std::optional<Answer> answer;
    const auto give_up = transport::Clock::now() + std::chrono::seconds(60);
    while (!(answer = in_.take_answer(link_)) || is_sign_of_life(*answer)) {
      if (transport::Clock::now() > give_up) throw std::runtime_error("no answer came");
      if (!answer) wait();
    }
    if (std::holds_alternative<KeyMade>(*answer)) {
      in_.expect({plain_.get(), 0, kCount, 1});
      for (; !in_.is_whole(); wait()) {
        while (!in_.is_whole() && in_.front(link_)) in_.pop(link_);
      }
    }
    return std::get<T>(*answer);
  }

 private:
  static bool is_sign_of_life(const Answer& answer) {
    const auto* accepted = std::get_if<Accepted>(&answer);
    return accepted != nullptr && accepted->sequence == 0;
  }
  void send(Outgoing message) {
    out_.add(std::move(message));
    while (!out_.pump(link_) || out_.size() > 0) wait();
  }
  void wait() const {
    if (!endpoint_->progress()) endpoint_->wait(transport::Clock::now() + std::chrono::milliseconds(5));
  }

  const std::shared_ptr<const compress::Codec> plain_ = compress::make_codec("none");
  OutgoingMessages out_{Side::worker};
  IncomingMessages in_{Side::server, "the server"};
  std::unique_ptr<transport::Endpoint> endpoint_;
  transport::Link& link_;
};

TEST(RefusedPush, IsToldOfAgainBeforeAJoinIsAnsweredUntilTheWorkerKnows) {
  const Servers servers(1, "tcp");
  const Payload values = plain(Floats(kCount, 1.0F));
  const Join join{.session = 7, .consistency = parse_consistency("asp")};
  Connection first(servers.servers[0].address());
  first.send(join);
  EXPECT_EQ(first.take<Joined>().sequence, 0U);
  first.send(MakeKey{.request = 1, .key = "w", .optimizer = "sgd", .total = kCount, .count = kCount}, values);
  EXPECT_EQ(first.take<KeyMade>().shard, 0U);
  first.send(Advance{.clock = 1});
  first.send(Push{.sequence = 1, .clock = 0}, values);
  first.send(Push{.sequence = 2, .clock = 1}, values);
  EXPECT_EQ(first.take<Refused>().request, 1U);
  EXPECT_EQ(first.take<Accepted>().sequence, 2U);

  // Nothing was asked on this one, so that the server cannot tell that its answers came.
  {
    Connection second(servers.servers[0].address());
    second.send(join);
    EXPECT_EQ(second.take<Refused>().request, 1U);
    EXPECT_EQ(second.take<Joined>().sequence, 2U);
    // What is still under way there is repeated here.
    expect_error(ErrorCode::peer_lost, "", [&] {
      while (true) first.take<Accepted>();
    });
  }
  Connection third(servers.servers[0].address());
  third.send(join);
  const auto again = third.take<Refused>();
  EXPECT_EQ(again.verb, Verb::push);
  EXPECT_EQ(again.request, 1U);
  EXPECT_EQ(again.code, ErrorCode::invalid_argument);
  EXPECT_EQ(third.take<Joined>().sequence, 2U);
  third.send(Push{.sequence = 3, .clock = 1}, values);
  EXPECT_EQ(third.take<Accepted>().sequence, 3U);

  Connection fourth(servers.servers[0].address());
  fourth.send(join);
  EXPECT_EQ(fourth.take<Joined>().sequence, 3U);
}

TEST(Refusals, NameTheirRequests) {
  const Servers servers(1, "tcp");
  Connection worker(servers.servers[0].address());
  worker.send(Join{.session = 7});
  worker.take<Joined>();
  worker.send(Leave{});
  worker.send(Beat{});
  EXPECT_EQ(worker.take<Refused>().verb, Verb::beat);
  worker.send(Advance{1});
  EXPECT_EQ(worker.take<Refused>().verb, Verb::advance);
}

TEST(RefusedPush, IsGivenBackAndNotLostThoughALaterOneWasTaken) {
  ScriptedServer server;
  auto options = server.client();
  options.push_codec = "bf16";
  options.consistency = parse_consistency("asp");
  std::thread script([&] {
    const auto bf16 = compress::make_codec("bf16");
    const Body whole{&server.plain(), 0, kCount, 1};
    Joined joined{.incarnation = 1, .lease_ms = 3'600'000, .origin = 1};
    const auto next = [&](const std::optional<Refused>& before) {
      server.await_caller();
      server.take<Join>();
      if (before) server.answer(*before);
      server.answer(joined);
    };
    next(std::nullopt);
    const auto make = server.take<MakeKey>();
    server.answer(KeyMade{.request = make.request, .count = kCount}, whole, plain(Floats(kCount)));
    for (const std::uint64_t sequence : {1U, 2U}) {
      EXPECT_EQ(server.take<Push>().sequence, sequence);
      server.skip({bf16.get(), 0, kCount, 1});
    }
    // The first was refused and the second taken: neither answer arrives.
    server.hang_up();
    const Refused refused{Verb::push, 1, ErrorCode::invalid_argument, "it came late", "push in time"};
    joined.shards = 1;
    joined.sequence = 2;
    next(refused);
    server.take<Pull>();
    server.hang_up();
    // Once more it says so, although this was read; and then it has died, and forgot both pushes.
    next(refused);
    server.take<Pull>();
    server.hang_up();
    joined.incarnation = 2;
    joined.sequence = 0;
    next(std::nullopt);
    const auto pull = server.take<Pull>();
    server.answer(Pulled{.request = pull.request, .version = 1, .whole = true}, whole, plain(Floats(kCount)));
    server.take<Leave>();
    server.answer(Accepted{});
    server.await_departure();
  });
  {
    ParameterServerClient client(options);
    Floats value(kCount);
    client.init("key", value);
    Floats first(kCount, 3.0F);
    Floats second(kCount, 5.0F);
    Work refused = client.push("key", first);
    client.push("key", second).wait();
    expect_error(ErrorCode::invalid_argument, "it came late", [&] { refused.wait(); });
    EXPECT_EQ(client.residual("key"), first);
    client.pull("key", value).wait();
    EXPECT_EQ(client.report().lost_pushes, 1U);
  }
  script.join();
}

TEST(TwoConnections, OfASessionThatJoinAtOnceLeaveTheLaterOne) {
  ParameterServerOptions options;
  options.job = "servers";
  options.transport = "tcp";
  const ServerProcess server(options);
  Connection first(server.address());
  Connection second(server.address());
  server.signal(SIGSTOP);
  const Join join{.session = 7, .consistency = parse_consistency("asp")};
  first.send(join);
  second.send(join);
  server.signal(SIGCONT);
  EXPECT_EQ(second.take<Joined>().sequence, 0U);
  expect_error(ErrorCode::peer_lost, "", [&] {
    while (true) first.take<Joined>();
  });
  second.send(MakeKey{.request = 1, .key = "w", .optimizer = "sgd", .total = kCount, .count = kCount},
              plain(Floats(kCount)));
  EXPECT_EQ(second.take<KeyMade>().request, 1U);
}

}  // namespace
}  // namespace gradwire::server
