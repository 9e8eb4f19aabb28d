#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/host_address.hpp"
#include "base/socket_address.hpp"
#include "base/unique_fd.hpp"
#include "directory_store.hpp"
#include "mesh.hpp"
#include "transport/address_record.hpp"
#include "transport/link_end.hpp"

// How ranks say where they are, and how they say that they failed.

namespace gradwire::transport {
namespace {

ErrorCode code_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << "no error";
  return ErrorCode::system;
}

AddressRecord sample() {
  AddressRecord record;
  record.world_size = 3;
  record.connections = 2;
  record.token = 0x0123456789ABCDEF;
  record.host = "boot/net";
  record.group = "rack-1";
  record.unix_name = "gradwire-17";
  record.tcp_host = "fd00::1";
  record.tcp_port = 4711;
  record.process = "boot/pid:17/4/99";
  record.ucx_version = "1.13.1";
  record.ucx_address = std::string(300, 'a') + '\0' + "b";
  return record;
}

EndpointOptions options() {
  auto options = options_for({"tcp", "tcp", 2}, 0, 3);
  return options;
}

TEST(AddressRecord, RoundTrip) { EXPECT_EQ(read_record(write_record(sample()), 1, options()), sample()); }

TEST(AddressRecord, AnyChangeOrCutIsAnError) {
  const std::string good = write_record(sample());
  for (std::size_t at = 0; at < good.size(); ++at) {
    for (const int change : {1, 0x80, 0xFF}) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ change);
      EXPECT_THROW((void)read_record(bad, 1, options()), Error) << at;
    }
    EXPECT_EQ(code_of([&] { (void)read_record(good.substr(0, at), 1, options()); }), ErrorCode::corrupt_frame)
        << at;
  }
  EXPECT_EQ(code_of([&] { (void)read_record(good + "x", 1, options()); }), ErrorCode::corrupt_frame);
}

TEST(AddressRecord, RanksThatDisagreeAreTold) {
  auto record = sample();
  record.world_size = 4;
  EXPECT_EQ(code_of([&] { (void)read_record(write_record(record), 1, options()); }),
            ErrorCode::invalid_argument);
  record = sample();
  record.connections = 1;
  EXPECT_EQ(code_of([&] { (void)read_record(write_record(record), 1, options()); }),
            ErrorCode::invalid_argument);
}

TEST(AddressRecord, OverlongHostIdsAreRefused) {
  auto record = sample();
  record.group = std::string(5000, 'x');
  EXPECT_EQ(code_of([&] { (void)write_record(record); }), ErrorCode::invalid_argument);
}

TEST(AddressRecord, OverlongAddressesOfUcxAreRefused) {
  auto record = sample();
  record.ucx_address = std::string(65535, 'x');
  EXPECT_EQ(read_record(write_record(record), 1, options()), record);
  record.ucx_address += 'x';
  try {
    (void)write_record(record);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    EXPECT_THAT(error.what(), testing::HasSubstr("UCX_NET_DEVICES"));
  }
}

TEST(SocketAddress, NumericForms) {
  const auto v4 = base::numeric_address("10.1.2.3", 80);
  EXPECT_EQ(v4.text(), "10.1.2.3:80");
  EXPECT_FALSE(v4.is_loopback());
  const auto v6 = base::numeric_address("fd00::1", 81);
  EXPECT_EQ(v6.text(), "[fd00::1]:81");
  EXPECT_EQ(v6.host(), "fd00::1");
  EXPECT_TRUE(base::numeric_address("127.0.0.7", 0).is_loopback());
  EXPECT_TRUE(base::numeric_address("::1", 0).is_loopback());
  EXPECT_TRUE(base::numeric_address("fe80::1%lo", 0).is_link_local());
  EXPECT_NE(base::numeric_address("fe80::1%lo", 0).scope(), 0U);
  EXPECT_EQ(code_of([] { (void)base::numeric_address("example.org", 0); }), ErrorCode::invalid_argument);
}

TEST(SocketAddress, NamesAreNotNumeric) {
  for (const char* name : {"localhost", "LOCALHOST", "lo", ""}) {
    EXPECT_TRUE(base::try_numeric_address(name).empty()) << name;
  }
  EXPECT_EQ(code_of([] { (void)base::local_address("localhost"); }), ErrorCode::invalid_argument);
  std::string why;
  EXPECT_FALSE(base::resolve("localhost", why).empty()) << why;
}

TEST(SocketAddress, ScopedHostIsReadBackWhole) {
  for (const char* host : {"10.1.2.3", "fd00::1", "fe80::1%lo"}) {
    const auto address = base::numeric_address(host, 0);
    EXPECT_EQ(address.scoped_host(), host);
    EXPECT_EQ(base::local_address(address.scoped_host()).scope(), address.scope()) << host;
  }
}

TEST(SocketAddress, LinkLocalOnesNeedTheirInterface) {
  try {
    (void)base::local_address("fe80::1");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_THAT(error.what(), testing::HasSubstr("as in fe80::1%eth0"));
  }
}

TEST(SocketAddress, OfInterfaces) {
  EXPECT_EQ(base::local_address("lo").host(), "127.0.0.1");
  EXPECT_EQ(base::local_address("").host(), "127.0.0.1");
  EXPECT_EQ(base::local_address("::1").host(), "::1");
  for (const char* wildcard : {"0.0.0.0", "0", "::", "::0", "::ffff:0.0.0.0"}) {
    try {
      (void)base::local_address(wildcard);
      ADD_FAILURE() << wildcard;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
      EXPECT_THAT(error.what(), testing::HasSubstr("no other rank could connect to it")) << wildcard;
    }
  }
  try {
    (void)base::local_address("nonesuch0");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("nonesuch0"), testing::HasSubstr("lo")));
  }
}

TEST(SocketAddress, TowardsAHost) {
  const auto towards = [](const std::string& host) {
    return base::local_address_towards(host, {base::numeric_address(host, 0)});
  };
  EXPECT_EQ(towards("127.0.0.1").host(), "127.0.0.1");
  EXPECT_EQ(towards("::1").host(), "::1");
}

TEST(Connect, BadOptionsAreRefused) {
  DirectoryStore store;
  const auto refusal = [&](auto change) {
    auto bad = options_for({"tcp", "tcp"}, 0, 2);
    change(bad);
    return code_of([&] { connect(bad, store); });
  };
  EXPECT_EQ(refusal([](auto& o) { o.world_size = 0; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refusal([](auto& o) { o.rank = 2; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refusal([](auto& o) { o.rank = -1; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refusal([](auto& o) { o.kind = "pigeon"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refusal([](auto& o) { o.connections_per_peer = 0; }), ErrorCode::invalid_argument);
  for (const double rate : {-1.0, 1e-300, 124.0, 1.26e12, 1e300, HUGE_VAL, -HUGE_VAL, std::nan("")}) {
    EXPECT_EQ(refusal([rate](auto& o) { o.link_rate = rate; }), ErrorCode::invalid_argument) << rate;
  }
  EXPECT_EQ(refusal([](auto& o) { o.job = std::string(256, 'j'); }), ErrorCode::invalid_argument);
  EXPECT_EQ(refusal([](auto& o) { o.interface = "nonesuch0"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refusal([](auto& o) { o.interface = "192.0.2.1"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refusal([](auto& o) { o.interface = "0.0.0.0"; }), ErrorCode::invalid_argument);
}

TEST(Connect, TransportsThatTheBuildLacksAreUnsupported) {
  const auto known = available_transports();
  for (const std::string_view kind : kTransports) {
    if (std::ranges::find(known, kind) != known.end()) continue;
    DirectoryStore store;
    EXPECT_EQ(code_of([&] {
                connect(options_for({"left out", std::string(kind)}, 0, 2), store);
              }),
              ErrorCode::unsupported)
        << kind;
  }
}

TEST(LinkEnd, WordsRoundTrip) {
  for (const auto kind :
       {LinkEnd::Kind::open, LinkEnd::Kind::goodbye, LinkEnd::Kind::abort, LinkEnd::Kind::died}) {
    LinkEnd end;
    end.kind = kind;
    end.origin = kind == LinkEnd::Kind::abort ? 70000 : -1;
    end.code = kind == LinkEnd::Kind::abort ? ErrorCode::order_mismatch : ErrorCode::peer_lost;
    const LinkEnd back = kind == LinkEnd::Kind::open ? LinkEnd{} : LinkEnd::from_word(end.to_word(), 70001);
    EXPECT_EQ(back.kind, end.kind);
    EXPECT_EQ(back.origin, end.origin);
    EXPECT_EQ(back.code, end.code);
  }
  LinkEnd outside;
  outside.kind = LinkEnd::Kind::abort;
  outside.origin = 4;
  EXPECT_EQ(LinkEnd::from_word(outside.to_word(), 5).kind, LinkEnd::Kind::abort);
  EXPECT_EQ(LinkEnd::from_word(outside.to_word(), 4).kind, LinkEnd::Kind::died);
  EXPECT_EQ(LinkEnd::from_word(0, 4).kind, LinkEnd::Kind::open);
  EXPECT_EQ(LinkEnd::from_word(0xFF, 4).kind, LinkEnd::Kind::died);
  EXPECT_EQ(LinkEnd::from_word(~std::uint64_t{0}, 4).kind, LinkEnd::Kind::died);
}

TEST(LinkEnd, BlameFallsOnThePeerAnErrorNamesElseOnTheRankItself) {
  EXPECT_EQ(blame(Error(ErrorCode::peer_lost, "a", "b", 3), 1).origin, 3);
  EXPECT_EQ(blame(Error(ErrorCode::timeout, "a", "b"), 1).origin, 1);
}

}  // namespace
}  // namespace gradwire::transport
