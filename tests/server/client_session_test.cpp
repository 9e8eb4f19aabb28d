#include "server/client_session.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "expect_error.hpp"
#include "scripted_server.hpp"
#include "server_calls.hpp"
#include "servers.hpp"

// A client's connection with one server, when that or the client itself does what it should not.
namespace gradwire::server {
namespace {

using namespace std::chrono_literals;

std::chrono::microseconds cpu_time() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto of = [](const timeval& time) {
    return std::chrono::seconds(time.tv_sec) + std::chrono::microseconds(time.tv_usec);
  };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

TEST(ClientSession, EndsAllThatWasAskedWhenOneRequestCannotBeWritten) {
  const Servers servers(1);
  ClientSession session(servers.client(0, 1), 0, 1, nullptr);
  const auto operation = std::make_shared<ClientOperation>(3);
  const auto shard = std::make_shared<ClientShard>(ClientShard{.count = 10});
  Floats value(10);
  // Before it has joined none of them is sent.
  for (const char* key : {"key", "", "other"}) {
    auto request = std::make_shared<ClientRequest>();
    request->operation = operation;
    request->head = whole_key(key, value.size(), "sgd");
    request->shard = shard;
    request->out = value;
    request->sent = std::as_bytes(request->out);
    session.submit(std::move(request));
  }
  expect_error(ErrorCode::invalid_argument, "key", [&] {
    Work work = ClientOperation::work_of(operation);
    if (!work.wait_for(20s)) ADD_FAILURE() << "it waits for ever";
  });
}

/// What such a pull added is not added again by the next one.
TEST(ClientSession, HoldsNoVersionAfterAPullThatWasCutShortAndThenRefused) {
  constexpr std::size_t kCount = 40'000;  // two frames of fp16
  ScriptedServer server;
  const auto fp16 = compress::make_codec("fp16");
  const Payload ones = encoded(*fp16, Floats(kCount, 1.0F));
  auto options = server.client();
  options.pull_codec = "fp16";
  std::promise<const ParameterServerClient*> made;
  auto values = std::async(std::launch::async, [&] {
    ParameterServerClient client(options);
    Floats value(kCount);
    client.init("key", value);
    made.set_value(&client);
    Work cut = client.pull("key", value);
    expect_error(ErrorCode::peer_lost, "the others go on", [&] { cut.wait(); });
    client.rejoin();
    client.pull("key", value).wait();
    return value;
  });
  const Joined joined{.incarnation = 7, .lease_ms = 60'000, .shards = 1, .origin = 7};
  const Body whole{&server.plain(), 0, kCount, 1};

  server.await_caller();
  (void)server.take<Join>();
  server.answer(joined);
  const auto make = server.take<MakeKey>();
  server.answer(KeyMade{.request = make.request, .version = 3, .count = kCount}, whole,
                plain(Floats(kCount)));
  auto pull = server.take<Pull>();
  EXPECT_EQ(pull.incarnation, 7U);
  EXPECT_EQ(pull.version, 3U);
  const auto* const client = made.get_future().get();
  const std::uint64_t received = client->report().wire_bytes_received;
  server.begin_answer(Pulled{.request = pull.request, .version = 4, .sealed = 1}, {fp16.get(), 0, kCount, 1},
                      ones);
  server.wait_until([&] { return client->report().wire_bytes_received > received + kCount; });
  server.hang_up();

  server.await_caller();
  (void)server.take<Join>();
  server.answer(joined);
  pull = server.take<Pull>();
  EXPECT_EQ(pull.incarnation, 0U) << "half of an answer is in the buffer";
  server.answer(Refused{Verb::pull, pull.request, ErrorCode::peer_lost, "the others go on", "join again"});
  server.await_departure();

  server.await_caller();
  (void)server.take<Join>();
  server.answer(joined);
  pull = server.take<Pull>();
  EXPECT_EQ(pull.incarnation, 0U) << "and there it still is";
  server.answer(Pulled{.request = pull.request, .version = 4, .whole = true}, whole,
                plain(Floats(kCount, 5.0F)));
  server.wait_until([&] { return values.wait_for(0s) == std::future_status::ready; });
  EXPECT_EQ(values.get(), Floats(kCount, 5.0F));
}

TEST(ClientSession, SleepsWhileItsJoinIsNotAnswered) {
  ScriptedServer server;
  auto options = server.client();
  options.timeout = 1s;
  auto made = std::async(std::launch::async, [&] {
    expect_error(ErrorCode::timeout, "did not answer worker 0 for 1 s",
                 [&] { const ParameterServerClient client(options); });
  });
  server.await_caller();
  const auto before = cpu_time();
  server.wait_until([&] { return made.wait_for(0s) == std::future_status::ready; });
  EXPECT_LT(cpu_time() - before, 200ms);
}

}  // namespace
}  // namespace gradwire::server
