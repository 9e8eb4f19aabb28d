#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <thread>

#include "directory_store.hpp"
#include "service_stranger.hpp"
#include "transport/address_record.hpp"

// Whoever else comes to a service's door.

namespace gradwire::transport {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_F(ServiceStranger, ThatSaysSomethingElseIsTurnedAway) {
  const std::string request = "GET / HTTP/1.1\r\nHost: here\r\n\r\n";
  const RawCaller browser(host_->address());
  browser.say(request);
  host_->serve_until([&] { return browser.is_hung_up(); });
  EXPECT_EQ(host_->arrived(), 0);
  expect_service();
}

TEST_F(ServiceStranger, ThatLooksForOpenPortsDoesNotDisturb) {
  for (int i = 0; i < 200; ++i) {
    const RawCaller scanner(host_->address());
    if (i % 3 == 0) scanner.reset_on_close();
  }
  expect_service();
  EXPECT_EQ(host_->arrived(), 1);
}

TEST_F(ServiceStranger, ThatSaysLessThanAHelloIsLetGoOf) {
  auto options = service_options(over_tcp);
  options.timeout = milliseconds(400);
  open(options);
  const RawCaller silent(host_->address());
  const RawCaller halting(host_->address());
  halting.say("GWH1");
  const RawCaller half(host_->address());
  half.hello(0, 77);  // and never the other connection
  host_->serve_until([&] { return silent.is_hung_up() && halting.is_hung_up() && half.is_hung_up(); });
  expect_service();
  EXPECT_EQ(host_->arrived(), 1);
}

TEST_F(ServiceStranger, WhoHangsUpBetweenItsConnectionsIsForgotten) {
  host_->serve_once();
  const std::size_t before = open_descriptors();
  const auto begin = Clock::now();
  for (int i = 0; i < 10; ++i) {
    auto half = std::make_unique<RawCaller>(host_->address());
    half->hello(0, static_cast<std::uint64_t>(i));
    host_->serve_until([&] { return open_descriptors() == before + 2; });
    half.reset();
    host_->serve_until([&] { return open_descriptors() == before; });
  }
  EXPECT_LT(Clock::now() - begin, seconds(20)) << "noticed only after its time was over";
  EXPECT_EQ(host_->arrived(), 0);
}

TEST_F(ServiceStranger, WhoNumbersItsConnectionsWronglyIsTurnedAway) {
  const RawCaller one(host_->address());
  const RawCaller other(host_->address());
  one.hello(0, 5);
  other.hello(0, 5);
  host_->serve_until([&] { return one.is_hung_up() || other.is_hung_up(); });
  const RawCaller third(host_->address());
  third.hello(2, 6);
  host_->serve_until([&] { return third.is_hung_up(); });
  EXPECT_EQ(host_->arrived(), 0);
  expect_service();
}

TEST_F(ServiceStranger, ConnectionsOfSeveralCallersAreToldApart) {
  // Interleaved, and the one for the end first.
  std::vector<std::unique_ptr<RawCaller>> sockets;
  for (const int connection : {1, 0}) {
    for (std::uint64_t token = 0; token < 5; ++token) {
      sockets.push_back(std::make_unique<RawCaller>(host_->address()));
      sockets.back()->hello(connection, token);
    }
  }
  host_->serve_until([&] { return host_->arrived() == 5; });
  for (std::uint64_t token = 0; token < 5; ++token) {
    for (const std::size_t i : {token, token + 5}) {
      const auto answer = sockets[i]->answer();
      ASSERT_TRUE(answer);
      EXPECT_EQ(answer->token, token);
      EXPECT_EQ(answer->connection, i < 5 ? 1 : 0);
      EXPECT_EQ(answer->rank, 1);
    }
  }
}

TEST_F(ServiceStranger, OfAnotherJobOrVersionIsTold) {
  for (const Way& way : {over_tcp, over_shm}) {
    open(service_options(way));
    auto options = caller_options(way, host_->address());
    options.job = "another";
    std::optional<Error> seen;
    host_->serve_while({[&] {
      try {
        call_service(options);
      } catch (const Error& error) {
        seen = error;
      }
    }});
    ASSERT_TRUE(seen);
    EXPECT_EQ(seen->code(), ErrorCode::version_mismatch) << seen->what();
    EXPECT_THAT(seen->what(), testing::AllOf(testing::HasSubstr("job 'service-test'"),
                                             testing::HasSubstr(host_->address())));
    expect_service(way);
    EXPECT_EQ(host_->arrived(), 1);
  }
  open(service_options(over_tcp));
  const RawCaller newer(host_->address());
  auto bytes = RawCaller::hello_bytes(0, 1);
  bytes.buffer[4] = std::byte{wire::kVersion + 1};
  newer.say(bytes);
  host_->serve_until([&] { return newer.is_hung_up(); });
  EXPECT_TRUE(newer.answer()) << "it should learn which version is spoken here";
}

TEST_F(ServiceStranger, CallersOfAnotherVersionOfTheServiceGiveUpAtOnce) {
  base::SocketAddress address = base::numeric_address("127.0.0.1", 0);
  const auto listener = listen_tcp(address);
  std::thread newer([&] {
    pollfd wanted = {listener.get(), POLLIN, 0};
    ASSERT_GT(::poll(&wanted, 1, static_cast<int>(milliseconds(kSoon).count())), 0);
    const base::UniqueFd socket(::accept(listener.get(), nullptr, nullptr));
    auto bytes = wire::write_hello({});
    bytes.buffer[4] = std::byte{wire::kVersion + 1};
    ASSERT_GT(::send(socket.get(), bytes.buffer.data(), bytes.size, MSG_NOSIGNAL), 0);
    wanted = {socket.get(), POLLRDHUP, 0};
    ::poll(&wanted, 1, static_cast<int>(milliseconds(kSoon).count()));
  });
  try {
    call_service(caller_options(over_tcp, address.text()));
    ADD_FAILURE() << "connected";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::version_mismatch) << error.what();
  }
  newer.join();
}

TEST_F(ServiceStranger, RanksAndServicesDoNotMix) {
  // A caller at a rank's door.
  DirectoryStore store;
  std::thread rank([&] {
    auto options = options_for({"tcp", "tcp"}, 0, 2);
    options.job = "service-test";
    EXPECT_THROW(connect(options, store), Error);
  });
  store.set("gradwire/service-test/7/address/1",
            store.get("gradwire/service-test/7/address/0", kSoon).value());
  const auto record = read_record(store.get("gradwire/service-test/7/address/0", kSoon).value(), 0,
                                  options_for({"tcp", "tcp"}, 1, 2));
  try {
    call_service(caller_options(over_tcp, base::numeric_address(record.tcp_host, record.tcp_port).text()));
    ADD_FAILURE() << "took a rank for a service";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::version_mismatch) << error.what();
    EXPECT_THAT(error.what(), testing::HasSubstr("communicator 7"));
  }
  rank.join();

  // A rank at a service's.
  const RawCaller wrong(host_->address());
  wire::Hello hello;
  hello.job = "service-test";
  hello.communicator = 7;
  hello.world_size = 2;
  hello.peer = 1;
  hello.connections = 2;
  wrong.say(wire::write_hello(hello));
  host_->serve_until([&] { return wrong.is_hung_up(); });
  const auto answer = wrong.answer();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->communicator, wire::kServiceCommunicator);
  EXPECT_EQ(host_->arrived(), 0);
}

TEST_F(ServiceStranger, ACrowdThatSaysNothingLeavesRoomForCallers) {
  constexpr int kCrowd = 200;
  std::array<int, 2> ready{};
  ASSERT_EQ(::pipe(ready.data()), 0);
  const base::UniqueFd ready_end(ready[0]);
  base::UniqueFd told_end(ready[1]);
  const std::string address = host_->address();
  // In processes of their own, with descriptors of their own.
  const Child silent([&] {
    std::vector<std::unique_ptr<RawCaller>> sockets;
    sockets.reserve(kCrowd);
    for (int i = 0; i < kCrowd; ++i) sockets.push_back(std::make_unique<RawCaller>(address));
    [[maybe_unused]] const auto told = ::write(told_end.get(), "r", 1);
    while (true) ::pause();
  });
  char byte = 0;
  ASSERT_EQ(::read(ready_end.get(), &byte, 1), 1);
  Child caller([&] {
    call(caller_options(over_tcp, address), [](Endpoint& endpoint) { exchange(endpoint, 5, 1000); });
  });
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit tight = before;
  tight.rlim_cur = static_cast<rlim_t>(ready[1]) + 60;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
  const auto begin = Clock::now();
  host_->serve_until([&] { return host_->departed().size() == 1; });
  EXPECT_LT(Clock::now() - begin, seconds(30)) << "the crowd was given all its time";
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(host_->frames(), 5);
  EXPECT_EQ(caller.wait(), 0);
}

TEST_F(ServiceStranger, DescriptorsThatRunOutStopNobodyWhoIsIn) {
  const std::string address = host_->address();
  host_->serve_while({[&] {
    call(caller_options(over_tcp, address), [&](Endpoint& endpoint) {
      exchange(endpoint, 5, 1000);
      rlimit before{};
      ::getrlimit(RLIMIT_NOFILE, &before);
      const RawCaller stranger(address);
      rlimit none = before;
      none.rlim_cur = 3;
      ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
      exchange(endpoint, 50, 1000);
      EXPECT_FALSE(stranger.is_hung_up());
      ::setrlimit(RLIMIT_NOFILE, &before);
    });
  }});
  expect_service();
}

}  // namespace
}  // namespace gradwire::transport
