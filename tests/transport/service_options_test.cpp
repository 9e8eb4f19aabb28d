#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "service_host.hpp"

// What a service and its callers are told to do, and where.

namespace gradwire::transport {
namespace {

using std::chrono::milliseconds;

TEST(ServiceOptions, ThatAreWrongAreRefused) {
  const auto expect_refusal = [](const std::function<void(ServiceOptions&)>& change) {
    ServiceOptions options;
    options.address = "127.0.0.1:4711";
    options.timeout = milliseconds(50);
    change(options);
    for (const bool calls : {false, true}) {
      try {
        if (calls) {
          call_service(options);
        } else {
          open_service(options);
        }
        ADD_FAILURE() << options.address << ' ' << options.kind << ' ' << options.link_rate;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << error.what();
      }
    }
  };
  for (const char* address : {"", ":4711", "::1", "[::1", "[::1]4711", "127.0.0.1:", "127.0.0.1:0",
                              "127.0.0.1:65536", "127.0.0.1:port"}) {
    expect_refusal([&](ServiceOptions& options) { options.address = address; });
  }
  for (const char* kind : {"", "inproc", "rdma"}) {
    expect_refusal([&](ServiceOptions& options) { options.kind = kind; });
  }
  for (const double rate : {-1.0, 1.0, 1e300, std::numeric_limits<double>::quiet_NaN()}) {
    expect_refusal([&](ServiceOptions& options) { options.link_rate = rate; });
  }
  expect_refusal([](ServiceOptions& options) {
    options.kind = "shm";
    options.link_rate = 1e6;
  });
  expect_refusal([](ServiceOptions& options) { options.job = std::string(256, 'x'); });
}

TEST(ServiceOptions, AnAddressOfAnotherHostIsNotListenedAt) {
  ServiceOptions options;
  options.address = "192.0.2.1:4711";  // set aside for documentation
  try {
    open_service(options);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_THAT(error.what(), testing::HasSubstr("192.0.2.1"));
  }
}

TEST(ServiceOptions, ACallerNeedsAPortAndAHost) {
  for (const char* address : {"127.0.0.1", "0.0.0.0:4711", "[::]:4711"}) {
    ServiceOptions options;
    options.address = address;
    try {
      call_service(options);
      ADD_FAILURE() << address;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << error.what();
    }
  }
}

TEST(ServiceAddress, OneAtAllAddressesIsReachedAtEach) {
  for (const char* kind : {"shm", "tcp", "auto"}) {
    const Way way{kind, kind, "0.0.0.0"};
    EchoHost host(service_options(way));
    const std::string port = host.address().substr(host.address().rfind(':'));
    EXPECT_NE(host.address(), "0.0.0.0" + port);
    for (const std::string& address :
         {host.address(), "127.0.0.1" + port, "127.1.2.3" + port, "localhost" + port}) {
      host.serve_while({[&] {
        call(caller_options(way, address), [&](Endpoint& endpoint) {
          EXPECT_STREQ(endpoint.link(1).kind(), way.kind == "tcp" ? "tcp" : "shm") << address;
          exchange(endpoint, 1, 10);
        });
      }});
    }
  }
}

TEST(ServiceAddress, TwoWithOnePortAtDifferentAddressesAreToldApart) {
  EchoHost one(service_options({"", "auto", "127.0.0.1"}));
  auto options = service_options({"", "auto", "127.0.0.2"});
  options.address += one.address().substr(one.address().rfind(':'));
  EchoHost other(options);
  other.serve_while({[&] {
    call(caller_options({"", "auto", ""}, other.address()),
         [](Endpoint& endpoint) { exchange(endpoint, 1, 10); });
  }});
  one.serve_once();
  EXPECT_EQ(one.arrived(), 0);
}

TEST(ServiceAddress, WhoeverMayUseTcpFallsBackToIt) {
  EchoHost host(service_options({"", "tcp", "127.0.0.1"}));
  host.serve_while({[&] {
    call(caller_options({"", "auto", ""}, host.address()), [](Endpoint& endpoint) {
      EXPECT_STREQ(endpoint.link(1).kind(), "tcp");
      exchange(endpoint, 1, 10);
    });
  }});
}

}  // namespace
}  // namespace gradwire::transport
