#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "gradwire/parameter_server.hpp"
#include "server/message_body.hpp"
#include "server/messages.hpp"
#include "transport/service.hpp"
#include "wire/header.hpp"

// Over shared memory what a side sends has a checksum when that side was asked for it.
namespace gradwire::server {
namespace {

using std::chrono::seconds;

bool has_checksum(const transport::Frame& frame) { return (frame.header.flags & wire::kFlagPayloadCrc) != 0; }

class CheckPayload : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(OnAndOff, CheckPayload, testing::Bool());

TEST_P(CheckPayload, OfAServer) {
  ParameterServerOptions options;
  options.job = "checks";
  options.transport = "shm";
  options.check_payload = GetParam();
  const ParameterServer server(options);
  const auto endpoint = transport::call_service(
      {.address = server.address(), .job = "checks", .kind = "shm", .timeout = seconds(20)});
  auto& link = endpoint->link(1);
  const Head join = write_request(Join{});
  ASSERT_TRUE(link.try_send(head_header(join.number, Side::worker), join.bytes));
  const auto deadline = transport::Clock::now() + seconds(20);
  while (link.front() == nullptr && transport::Clock::now() < deadline) {
    if (!endpoint->progress()) endpoint->wait(deadline);
  }
  ASSERT_NE(link.front(), nullptr);
  EXPECT_EQ(has_checksum(*link.front()), GetParam());
}

TEST_P(CheckPayload, OfAClient) {
  const auto service = transport::open_service({.address = "127.0.0.1", .job = "checks", .kind = "shm"});
  std::thread client([&, address = service->address()] {
    ParameterServerClientOptions options;
    options.servers = {address};
    options.job = "checks";
    options.transport = "shm";
    options.check_payload = GetParam();
    options.timeout = seconds(20);
    EXPECT_THROW(const ParameterServerClient turned_away(options), Error);
  });
  const auto deadline = transport::Clock::now() + seconds(20);
  bool is_over = false;
  while (!is_over && transport::Clock::now() < deadline) {
    if (!service->progress()) service->wait(deadline);
    for (const auto id : service->arrivals()) {
      while (service->link(id).front() == nullptr && transport::Clock::now() < deadline) {
        if (!service->progress()) service->wait(deadline);
      }
      if (const auto* const frame = service->link(id).front()) {
        EXPECT_EQ(has_checksum(*frame), GetParam());
      }
      // Trying again would be in vain, says that.
      service->drop(id, Error(ErrorCode::version_mismatch, "a test", "is over"));
      is_over = true;
    }
  }
  EXPECT_TRUE(is_over);
  service->close(seconds(1));
  client.join();
}

}  // namespace
}  // namespace gradwire::server
