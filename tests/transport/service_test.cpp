#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <optional>
#include <thread>

#include "service_host.hpp"
#include "tests/support/error_of.hpp"

// A service and callers that do what they should.

namespace gradwire::transport {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

CallerId first_caller(Service& service) {
  while (true) {
    service.wait(Clock::now() + seconds(1));
    service.progress();
    if (const auto callers = service.arrivals(); !callers.empty()) return callers.front();
  }
}

/// What a caller sees that is answered once, and waits for more.
std::optional<Error> end_after_one_exchange(Endpoint& endpoint) {
  return error_of([&] {
    exchange(endpoint, 1, 100);
    receive(endpoint, 1);
  });
}

/// Keeps the service going until the thread has ended.
void join_beside(std::thread& thread, const std::function<void()>& keep_going) {
  std::atomic<bool> ended{false};
  std::thread watch([&] {
    thread.join();
    ended = true;
  });
  while (!ended) keep_going();
  watch.join();
}

class Serving : public testing::TestWithParam<Way> {
 protected:
  [[nodiscard]] ServiceOptions to(const EchoHost& host) const {
    return caller_options(GetParam(), host.address());
  }
};

TEST_P(Serving, AnswersFramesOfAllSizes) {
  EchoHost host(service_options(GetParam()));
  host.serve_while({[&] {
    call(to(host), [](Endpoint& endpoint) {
      exchange(endpoint, 60, wire::kMaxPayload);
      exchange(endpoint, 20, 0);
    });
  }});
  EXPECT_EQ(host.frames(), 80);
}

TEST_P(Serving, IsReachedTheWayThatWasAskedFor) {
  EchoHost host(service_options(GetParam()));
  const std::string expected = GetParam().kind == "tcp" ? "tcp" : "shm";
  host.serve_while({[&] {
    call(to(host), [&](Endpoint& endpoint) {
      EXPECT_EQ(endpoint.link(1).kind(), expected);
      exchange(endpoint, 1, 10);
    });
  }});
  EXPECT_EQ(host.arrived(), 1);
}

TEST_P(Serving, TakesEverythingBeforeAGoodbye) {
  constexpr std::uint64_t kFrames = 100;
  EchoHost host(service_options(GetParam()));
  host.answers = false;
  host.serve_while({[&] {
    const auto payload = payload_for(0, 1, 0, 5000);
    call(to(host), [&](Endpoint& endpoint) {
      for (std::uint64_t i = 0; i < kFrames; ++i) send(endpoint, 1, header_for(0, 1, i), payload);
    });
  }});
  host.serve_until([&] { return host.departed().size() == 1; });
  EXPECT_EQ(host.frames(), kFrames);
  EXPECT_FALSE(host.departed().front().error) << host.departed().front().error->what();
}

TEST_P(Serving, FramesBeforeTheEndCanBeTakenLate) {
  constexpr std::uint64_t kFrames = 3;
  EchoHost host(service_options(GetParam()));
  Service& service = host.service();
  std::thread caller([options = to(host)] {
    call(options, [](Endpoint& endpoint) {
      for (std::uint64_t i = 0; i < kFrames; ++i) send(endpoint, 1, header_for(0, 1, i), {});
    });
  });
  const CallerId id = first_caller(service);
  // Takes nothing until the caller is gone for sure.
  join_beside(caller, [&] { service.progress(); });
  for (std::uint64_t i = 0; i < kFrames; ++i) {
    service.progress();
    EXPECT_TRUE(service.departures().empty()) << i;
    ASSERT_NE(service.link(id).front(), nullptr) << i;
    EXPECT_EQ(service.link(id).front()->header.operation, i);
    service.link(id).pop();
  }
  host.serve_until([&] { return host.departed().size() == 1; });
  EXPECT_THROW(static_cast<void>(service.link(id)), Error);
}

TEST_P(Serving, LetsAHundredCallersComeAndGo) {
  EchoHost host(service_options(GetParam()));
  host.serve_once();
  const std::size_t before = open_descriptors();
  host.serve_while({[&] {
    for (int i = 0; i < 100; ++i) {
      call(to(host), [](Endpoint& endpoint) { exchange(endpoint, 2, 100); });
    }
  }});
  host.serve_until([&] { return host.departed().size() == 100; });
  EXPECT_TRUE(std::ranges::none_of(host.departed(), [](const auto& each) { return each.error.has_value(); }));
  // The last ones may still be told goodbye.
  host.serve_until([&] { return open_descriptors() == before; });
}

TEST_P(Serving, GivesAllTheirTurnBesideThoseThatNeverStop) {
  EchoHost host(service_options(GetParam()));
  std::atomic<int> done{0};
  constexpr int kPolite = 4;
  std::vector<std::function<void()>> calls;
  calls.reserve(2 + kPolite);
  for (int i = 0; i < 2; ++i) {
    calls.emplace_back([&] {
      call(to(host), [&](Endpoint& endpoint) {
        const auto payload = payload_for(0, 1, 0, wire::kMaxPayload);
        std::uint64_t sent = 0;
        std::uint64_t taken = 0;
        while (done < kPolite || taken < sent) {
          while (done < kPolite && sent < taken + 64 && endpoint.link(1).try_send({}, payload)) ++sent;
          for (; endpoint.link(1).front() != nullptr; ++taken) endpoint.link(1).pop();
          if (!endpoint.progress()) endpoint.wait(Clock::now() + milliseconds(10));
        }
      });
    });
  }
  for (int i = 0; i < kPolite; ++i) {
    calls.emplace_back([&] {
      call(to(host), [&](Endpoint& endpoint) { exchange(endpoint, 30, 3000); });
      ++done;
    });
  }
  host.serve_while(calls);
  EXPECT_EQ(host.arrived(), 2 + kPolite);
}

TEST_P(Serving, TellsACallerWhyItIsDropped) {
  for (const ErrorCode code : {ErrorCode::timeout, ErrorCode::corrupt_frame, ErrorCode::order_mismatch}) {
    EchoHost host(service_options(GetParam()));
    std::optional<Error> seen;
    std::thread caller([&] {
      const auto endpoint = call_service(to(host));
      const auto error = end_after_one_exchange(*endpoint);
      if (error) seen = endpoint->abort(*error);
    });
    host.serve_until([&] { return host.frames() == 1; });
    host.service().drop(host.present().front(), Error(code, "the test said so", "do nothing", 17));
    EXPECT_THROW(static_cast<void>(host.service().link(host.present().front())), Error);
    join_beside(caller, [&] {
      if (!host.service().progress()) host.service().wait(Clock::now() + milliseconds(10));
      EXPECT_TRUE(host.service().departures().empty()) << "who was dropped has not departed";
    });
    ASSERT_TRUE(seen);
    EXPECT_EQ(seen->code(), code) << seen->what();
  }
}

TEST_P(Serving, SaysGoodbyeToWhomItDropsOrLeaves) {
  for (const bool drops : {true, false}) {
    EchoHost host(service_options(GetParam()));
    std::optional<Error> seen;
    std::thread caller([&] {
      const auto endpoint = call_service(to(host));
      seen = end_after_one_exchange(*endpoint);
    });
    host.serve_until([&] { return host.frames() == 1; });
    if (drops) host.service().drop(host.present().front(), std::nullopt);
    host.service().close(seconds(5));
    caller.join();
    ASSERT_TRUE(seen);
    EXPECT_EQ(seen->code(), ErrorCode::peer_lost);
    EXPECT_THAT(seen->what(), testing::HasSubstr("closed"));
  }
}

TEST_P(Serving, ForgetsPayloadsOfWhomItDrops) {
  EchoHost host(service_options(GetParam()));
  Service& service = host.service();
  std::atomic<bool> dropped{false};
  std::optional<Error> seen;
  std::thread caller([&] {
    const auto endpoint = call_service(to(host));
    while (!dropped) std::this_thread::yield();  // and takes nothing
    seen = error_of([&] {
      while (true) receive(*endpoint, 1);
    });
  });
  const CallerId id = first_caller(service);
  auto payload = std::make_unique<std::vector<std::byte>>(wire::kMaxPayload);
  const auto give_up = Clock::now() + milliseconds(200);
  while (Clock::now() < give_up) {
    while (service.link(id).try_send({}, *payload)) {
    }
    service.progress();
  }
  service.drop(id, std::nullopt);
  payload.reset();
  dropped = true;
  join_beside(caller, [&] { service.progress(); });
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->code(), ErrorCode::peer_lost);
  if (GetParam().kind == "tcp") {
    EXPECT_THAT(seen->what(), testing::Not(testing::HasSubstr("closed"))) << "frames for it are missing";
  }
}

TEST_P(Serving, SleepsUntilSomethingHappens) {
  EchoHost host(service_options(GetParam()));
  std::thread waker([&] {
    std::this_thread::sleep_for(milliseconds(50));
    host.service().wake();
  });
  host.service().progress();
  host.service().wait(Clock::now() + kSoon);
  waker.join();
  // A caller that comes, says something and goes ends three sleeps at least, however late it is.
  const auto begin = Clock::now();
  std::thread caller([&] { call(to(host), [](Endpoint& endpoint) { exchange(endpoint, 1, 10); }); });
  while (host.departed().empty()) {
    host.service().wait(Clock::now() + kSoon);
    ASSERT_LT(Clock::now() - begin, kSoon / 2) << "slept through it";
    host.serve_once();
  }
  caller.join();
}

TEST_P(Serving, IsIdleBetweenItsCallersWishes) {
  EchoHost host(service_options(GetParam()));
  std::atomic<bool> ends{false};
  std::vector<std::thread> callers;
  callers.reserve(3);
  for (int i = 0; i < 3; ++i) {
    callers.emplace_back([&] {
      call(to(host), [&](Endpoint& endpoint) {
        exchange(endpoint, 1, 100);
        while (!ends) std::this_thread::sleep_for(milliseconds(1));
      });
    });
  }
  host.serve_until([&] { return host.frames() == 3; });
  const double before = cpu_seconds();
  const auto until = Clock::now() + milliseconds(400);
  while (Clock::now() < until) host.serve_once();
  EXPECT_LT(cpu_seconds() - before, 0.1) << "of 0.4";
  ends = true;
  host.serve_until([&] { return host.departed().size() == 3; });
  for (auto& caller : callers) caller.join();
}

TEST_P(Serving, RefusesATakenPort) {
  EchoHost host(service_options(GetParam()));
  auto options = service_options(GetParam());
  options.address = host.address();
  try {
    static_cast<void>(open_service(options));
    ADD_FAILURE() << "two services at one port";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::system);
    EXPECT_THAT(error.what(), testing::HasSubstr("choose another port"));
  }
}

INSTANTIATE_TEST_SUITE_P(Ways, Serving, testing::ValuesIn(all_ways()),
                         [](const auto& each) { return each.param.name; });

}  // namespace
}  // namespace gradwire::transport
