#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "raw_caller.hpp"
#include "service_host.hpp"

namespace gradwire::transport {

inline const Way over_tcp{"tcp", "tcp", "127.0.0.1"};
inline const Way over_shm{"shm", "shm", "127.0.0.1"};

/// A service, and callers that behave beside those that do not.
class ServiceStranger : public testing::Test {
 protected:
  /// A caller that behaves is served.
  void expect_service(const Way& way = over_tcp) {
    const std::uint64_t before = host_->frames();
    const std::size_t present = host_->present().size();
    host_->serve_while({[&] {
      call(caller_options(way, host_->address()), [](Endpoint& endpoint) { exchange(endpoint, 5, 1000); });
    }});
    EXPECT_EQ(host_->frames(), before + 5);
    host_->serve_until([&] { return host_->present().size() == present; });
  }

  void open(const ServiceOptions& options) { host_ = std::make_unique<EchoHost>(options); }

  std::unique_ptr<EchoHost> host_ = std::make_unique<EchoHost>(service_options(over_tcp));
};

}  // namespace gradwire::transport
