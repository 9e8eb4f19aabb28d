#include "rendezvous/store_url.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/host_address.hpp"
#include "base/stream_socket.hpp"
#include "gradwire/error.hpp"
#include "rendezvous/address_towards_store.hpp"
#include "rendezvous/choose_store.hpp"

namespace gradwire::rendezvous {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST(StoreUrl, SurvivesBeingWrittenAndParsed) {
  for (const char* text : {"tcp://host:1234", "tcp://[::1]:80", "tcp://10.0.0.1:65535?job=a%20b",
                           "tcp://h:100?ports=16&job=x", "unix://name", "unix://gradwire-0-a%3fb?job=a%3fb",
                           "file:///tmp/a%20b?job=j", "mpi://", "mpi://?job=j"}) {
    EXPECT_EQ(parse_store_url(text).text(), text);
  }
  const StoreUrl url = parse_store_url("tcp://[fe80::1%25eth0]:5?job=%2f&ports=2");
  EXPECT_EQ(url.place, "fe80::1%25eth0") << "a host is taken as it is";
  EXPECT_EQ(url.port, 5);
  EXPECT_EQ(url.ports, 2);
  EXPECT_EQ(url.job, "/");
}

TEST(StoreUrl, RefusesWhatMakesNoSense) {
  for (const char* text : {"",
                           "host:1234",
                           "http://h:1",
                           "tcp://",
                           "tcp://h",
                           "tcp://h:",
                           "tcp://h:0",
                           "tcp://h:65536",
                           "tcp://h:12x",
                           "tcp://:12",
                           "tcp://::1:80",
                           "tcp://[::1:80",
                           "tcp://[::1]80",
                           "tcp://[]:80",
                           "tcp://h:65530?ports=16",
                           "tcp://h:1?ports=0",
                           "tcp://h:1?color=red",
                           "tcp://h:1?job=%4",
                           "tcp://h:1?job=%zz",
                           "unix://",
                           "unix://n?ports=2",
                           "file://relative",
                           "mpi://host",
                           "mpi://?ports=2",
                           "file://"}) {
    try {
      parse_store_url(text);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
      EXPECT_THAT(error.what(), HasSubstr(std::string("'") + text + "'"));
    }
  }
  EXPECT_THROW(parse_store_url("unix://" + std::string(101, 'x')), Error);
}

base::Environment two_ranks() {
  base::Environment environment;
  environment.rank = 1;
  environment.world_size = 2;
  environment.job = "j";
  return environment;
}

TEST(ChooseStore, FollowsTheOrder) {
  base::Environment environment = two_ranks();
  EXPECT_THAT(choose_store_url(environment), StartsWith("unix://gradwire-"));
  environment.slurm_job = 4711;
  environment.slurm_nodes = "node[07-09]";
  const StoreUrl slurm = parse_store_url(choose_store_url(environment));
  EXPECT_EQ(slurm.place, "node07");
  EXPECT_EQ(slurm.ports, 16);
  EXPECT_GE(slurm.port, 10'000);
  EXPECT_LT(slurm.port + slurm.ports, 32'768) << "clients are given ports from there on";
  environment.master_address = "master";
  environment.master_port = 29500;
  EXPECT_EQ(choose_store_url(environment), "tcp://master:29501?ports=16&job=j");
  environment.store_url = "tcp://store:1";
  EXPECT_EQ(choose_store_url(environment), "tcp://store:1?job=j");
  environment.store_url = "tcp://store:1?job=mine";
  EXPECT_EQ(choose_store_url(environment), "tcp://store:1?job=mine");
  environment.store_url = "nonsense";
  EXPECT_THROW(choose_store_url(environment), Error);
  environment.world_size = 1;
  EXPECT_EQ(choose_store_url(environment), "");
}

TEST(ChooseStore, StaysInsideTheRangeOfPorts) {
  base::Environment environment = two_ranks();
  environment.master_address = "::1";
  environment.master_port = 65'535;
  EXPECT_EQ(choose_store_url(environment), "tcp://[::1]:65520?ports=16&job=j");
  environment.master_address = "[::1]";
  EXPECT_EQ(choose_store_url(environment), "tcp://[::1]:65520?ports=16&job=j");
}

TEST(ChooseStore, DifferentJobsMeetInDifferentPlaces) {
  base::Environment environment = two_ranks();
  const std::string one = choose_store_url(environment);
  environment.job = std::string(200, 'x') + "1";
  const std::string two = choose_store_url(environment);
  environment.job = std::string(200, 'x') + "2";
  const std::string three = choose_store_url(environment);
  EXPECT_NE(one, two);
  EXPECT_NE(parse_store_url(two).place, parse_store_url(three).place);
  environment.slurm_nodes = "n";
  environment.slurm_job = 1;
  const std::string four = choose_store_url(environment);
  environment.slurm_job = 2;
  EXPECT_NE(parse_store_url(four).port, parse_store_url(choose_store_url(environment)).port);
}

TEST(ChooseStore, RanksOnSeveralHostsNeedAPlace) {
  base::Environment environment = two_ranks();
  environment.local_size = 2;
  EXPECT_THAT(choose_store_url(environment), StartsWith("unix://"));
  EXPECT_THAT(choose_store_url(environment, true), StartsWith("unix://"));
  environment.local_size = 1;
  EXPECT_THROW(choose_store_url(environment), Error);
  EXPECT_EQ(choose_store_url(environment, true), "mpi://?job=j");
}

std::string scoped_host(const std::optional<base::SocketAddress>& address) {
  return address ? address->scoped_host() : std::string("none");
}

TEST(AddressTowardsStore, LeadsToTheStoresHost) {
  EXPECT_EQ(scoped_host(address_towards_store("tcp://127.0.0.1:4?job=j")), "127.0.0.1");
  EXPECT_TRUE(address_towards_store("tcp://LOCALHOST:4")->is_loopback());
  EXPECT_EQ(scoped_host(address_towards_store("tcp://[::1]:4")), "::1");
  EXPECT_THROW(address_towards_store("tcp://no-such-host.invalid:4"), Error);
  EXPECT_EQ(scoped_host(address_towards_store("unix://x")), "none");
  // These have no address, but ranks of several hosts may meet there.
  EXPECT_EQ(scoped_host(address_towards_store("file:///x")), scoped_host(base::outward_address()));
  EXPECT_EQ(scoped_host(address_towards_store("")), scoped_host(base::outward_address()));
}

TEST(MisleadingName, IsOneThatDoesNotSayLoopbackAndLeadsThere) {
  const auto misleads = [](const std::string& host, const std::string& address) {
    return base::misleading_name(host, {base::numeric_address(address, 0)});
  };
  for (const char* name : {"myself", "127.example.org", "localhoster", "mylocalhost", "localhost-1"}) {
    EXPECT_TRUE(misleads(name, "127.0.1.1")) << name;
  }
  for (const char* name : {"localhost", "LOCALHOST", "localhost.", "localhost.localdomain", "a.Localhost",
                           "ip6-localhost", "127.0.1.1", "::1", "0:0:0:0:0:0:0:1", "127.1"}) {
    EXPECT_FALSE(misleads(name, "127.0.1.1")) << name;
  }
  EXPECT_FALSE(misleads("other", "10.0.0.1"));
  EXPECT_FALSE(base::misleading_name("nobody", {}));
}

TEST(OutwardAddress, IsThisHostsAndLeadsToOthers) {
  const auto outward = base::outward_address();
  if (!outward) GTEST_SKIP() << "this host has no address but loopback";
  EXPECT_FALSE(outward->is_loopback());
  int error = 0;
  EXPECT_TRUE(base::listen_at(outward->with_port(0), error)) << outward->text() << ": " << error;
}

TEST(FirstNode, ExpandsSlurmsLists) {
  EXPECT_EQ(first_node("login"), "login");
  EXPECT_EQ(first_node("node[01-04,07]"), "node01");
  EXPECT_EQ(first_node("node[3]"), "node3");
  EXPECT_EQ(first_node("node[07,01-04],other"), "node07");
  EXPECT_EQ(first_node("a,b,c"), "a");
  EXPECT_EQ(first_node("rack[2-3]n[010-012]-ib,x"), "rack2n010-ib");
  for (const char* bad : {"", ",a", "n[", "n[]", "n[1-2", "n]1", "n[-2]", "n[a]", "a b", "[,]", "(null)"}) {
    EXPECT_THROW(first_node(bad), Error) << bad;
  }
}

}  // namespace
}  // namespace gradwire::rendezvous
