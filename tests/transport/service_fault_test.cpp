#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <thread>

#include "raw_caller.hpp"
#include "service_host.hpp"

// Services and callers that die, and services that are not there.

namespace gradwire::transport {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class ServiceFault : public testing::TestWithParam<Way> {};

/// Bytes from a child to the test.
class Pipe {
 public:
  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe(ends.data()) != 0) throw std::runtime_error("pipe");
    read_.reset(ends[0]);
    write_.reset(ends[1]);
  }
  void tell(const std::string& line) const {
    [[maybe_unused]] const auto written = ::write(write_.get(), (line + "\n").data(), line.size() + 1);
  }
  [[nodiscard]] std::string next() const {
    std::string line;
    char byte = 0;
    while (::read(read_.get(), &byte, 1) == 1 && byte != '\n') line += byte;
    return line;
  }

 private:
  base::UniqueFd read_;
  base::UniqueFd write_;
};

TEST_P(ServiceFault, ACallerThatIsKilledDepartsAlsoWhereItsAnswersPileUp) {
  EchoHost host(service_options(GetParam()));
  host.serve_once();
  const std::size_t before = open_descriptors();
  for (std::size_t i = 0; i < 3; ++i) {
    const auto options = caller_options(GetParam(), host.address());
    const Child caller([&] {
      call(options, [](Endpoint& endpoint) {
        const auto payload = payload_for(0, 1, 0, 50000);
        while (true) {  // Sends, and takes no answer: the queues towards it fill up.
          endpoint.link(1).try_send({}, payload);
          endpoint.progress();
        }
      });
    });
    // Until nothing has moved for a while.
    std::uint64_t frames = 0;
    auto since = Clock::now();
    host.serve_until([&] {
      if (host.frames() != frames || !host.is_stuck()) since = Clock::now();
      frames = host.frames();
      return Clock::now() - since > milliseconds(100);
    });
    caller.kill();
    const auto begin = Clock::now();
    host.serve_until([&] { return host.departed().size() == i + 1; });
    EXPECT_LT(Clock::now() - begin, seconds(5));
    ASSERT_TRUE(host.departed().back().error);
    EXPECT_EQ(host.departed().back().error->code(), ErrorCode::peer_lost);
    EXPECT_THAT(host.departed().back().error->what(), testing::HasSubstr("died"));
  }
  EXPECT_EQ(open_descriptors(), before);
}

TEST_P(ServiceFault, ACallerThatIsKilledWhileItConnectsLeavesNothing) {
  EchoHost host(service_options(GetParam()));
  host.serve_once();
  const std::size_t before = open_descriptors();
  const auto options = caller_options(GetParam(), host.address());
  for (int i = 0; i < 30; ++i) {
    const Child caller([&] {
      while (true) call_service(options)->close(seconds(5));
    });
    const auto until = Clock::now() + milliseconds(3 + 2 * i);
    while (Clock::now() < until) host.serve_once();
    caller.kill();
  }
  host.serve_until([&] { return host.present().empty() && open_descriptors() == before; });
  host.serve_while({[&] { call(options, [](Endpoint& endpoint) { exchange(endpoint, 5, 1000); }); }});
}

TEST_P(ServiceFault, AServiceThatDiesIsMissedAndFoundAgain) {
  Pipe pipe;
  const auto serve = [&](std::string address) {
    auto options = service_options(GetParam());
    options.address = std::move(address);
    try {
      EchoHost host(options);
      pipe.tell(host.address());
      while (true) host.serve_once();
    } catch (const Error& error) {
      pipe.tell(error.what());
    }
  };
  Child first([&] { serve(GetParam().host); });
  const std::string address = pipe.next();
  const auto options = caller_options(GetParam(), address);
  const auto endpoint = call_service(options);
  exchange(*endpoint, 5, 1000);
  first.kill();
  const auto begin = Clock::now();
  try {
    receive(*endpoint, 1);
    ADD_FAILURE() << "heard from the dead";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::peer_lost) << error.what();
  }
  EXPECT_LT(Clock::now() - begin, seconds(5));
  // The kernel closes the connection before the place where it listened: who starts a service again waits for
  // its end.
  static_cast<void>(first.wait());
  // The old connection may still be there.
  const Child second([&] { serve(address); });
  EXPECT_EQ(pipe.next(), address);
  call(options, [](Endpoint& again) { exchange(again, 5, 1000); });
}

TEST_P(ServiceFault, AServiceMayStartAfterItsCallers) {
  const std::string address = open_service(service_options(GetParam()))->address();
  std::atomic<bool> calls{false};
  std::thread caller([&] {
    calls = true;
    call(caller_options(GetParam(), address), [](Endpoint& endpoint) { exchange(endpoint, 5, 1000); });
  });
  while (!calls) std::this_thread::yield();
  std::this_thread::sleep_for(milliseconds(100));  // so that it has most likely tried in vain
  auto options = service_options(GetParam());
  options.address = address;
  EchoHost host(options);
  host.serve_until([&] { return host.departed().size() == 1; });
  caller.join();
}

TEST_P(ServiceFault, AServiceThatNeverComesIsATimeoutThatSaysWhy) {
  const std::string address = open_service(service_options(GetParam()))->address();
  auto options = caller_options(GetParam(), address);
  options.timeout = milliseconds(200);
  const auto begin = Clock::now();
  try {
    call_service(options);
    ADD_FAILURE() << "connected with nobody";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::timeout);
    EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr(address),
                                             testing::HasSubstr(GetParam().kind == "shm" ? "no local service"
                                                                                         : "refused")));
  }
  EXPECT_GE(Clock::now() - begin, options.timeout);
}

INSTANTIATE_TEST_SUITE_P(Ways, ServiceFault, testing::ValuesIn(all_ways()),
                         [](const auto& each) { return each.param.name; });

TEST(ServiceTimeout, OneThatDoesNotAnswerIsNamed) {
  base::SocketAddress address = base::numeric_address("127.0.0.1", 0);
  const auto listener = listen_tcp(address);
  auto options = caller_options({"tcp", "tcp", ""}, address.text());
  options.timeout = milliseconds(200);
  try {
    call_service(options);
    ADD_FAILURE() << "connected with nobody";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::timeout);
    EXPECT_THAT(error.what(),
                testing::HasSubstr(address.text() + " took the connection, but does not answer"));
  }
}

TEST(ServiceTimeout, ANameThatDoesNotExistIsNamed) {
  ServiceOptions options;
  options.address = "no-such-host.invalid:4711";
  options.timeout = milliseconds(50);
  try {
    call_service(options);
    ADD_FAILURE() << "connected with nobody";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::timeout);
    EXPECT_THAT(error.what(), testing::HasSubstr("no-such-host.invalid"));
  }
}

}  // namespace
}  // namespace gradwire::transport
