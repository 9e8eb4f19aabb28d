#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/host_address.hpp"
#include "base/unique_fd.hpp"
#include "gradwire/communicator.hpp"
#include "transport/mpi/mpi_transport.hpp"

// Where ranks listen for TCP when the store does not say which interface leads to the others.

namespace gradwire {
namespace {

/// Remembers what the ranks publish about themselves.
class Witness : public Store {
 public:
  void set(const std::string& key, const std::string& value) override {
    {
      const std::lock_guard lock(mutex_);
      if (key.find("/address/") != std::string::npos) records.push_back(value);
    }
    inner_->set(key, value);
  }
  std::optional<std::string> get(const std::string& key, std::chrono::milliseconds timeout) override {
    return inner_->get(key, timeout);
  }
  std::vector<std::string> records;

 private:
  std::mutex mutex_;
  std::shared_ptr<Store> inner_ = make_memory_store();
};

/// Two ranks that reduce over TCP; what they published.
std::vector<std::string> records_of_run(const std::string& url) {
  const auto witness = std::make_shared<Witness>();
  std::vector<std::thread> ranks;
  ranks.reserve(4);
  for (int rank = 0; rank < 2; ++rank) {
    ranks.emplace_back([&, rank] {
      CommunicatorOptions options;
      options.rank = rank;
      options.world_size = 2;
      options.transport = "tcp";
      options.store = witness;
      options.store_url = url;
      options.timeout = std::chrono::seconds(20);
      try {
        Communicator communicator(options);
        std::vector<float> values(100, 1.0F);
        communicator.allreduce(std::span(values), {.codec = "none"});
        EXPECT_EQ(values[0], 2.0F);
      } catch (const Error& error) {
        ADD_FAILURE() << error.what();
      }
    });
  }
  for (auto& rank : ranks) rank.join();
  return witness->records;
}

TEST(ListeningAddress, LeadsOutWhereTheStoreHasNone) {
  const auto outward = base::outward_address();
  const std::string expected = outward ? outward->host() : "127.0.0.1";
  for (const char* url : {"", "file:///tmp/nowhere"}) {
    EXPECT_THAT(records_of_run(url),
                testing::AllOf(testing::SizeIs(2), testing::Each(testing::HasSubstr(expected))))
        << url;
  }
}

TEST(ListeningAddress, StaysOnTheHostWhereTheStoreDoes) {
  for (const char* url : {"unix://some-name", "tcp://127.0.0.1:1", "tcp://LOCALHOST:1"}) {
    EXPECT_THAT(
        records_of_run(url),
        testing::AllOf(testing::SizeIs(2), testing::Each(testing::AnyOf(testing::HasSubstr("127.0.0.1"),
                                                                        testing::HasSubstr("::1")))))
        << url;
  }
}

/// in6_ifreq, which the kernel's header declares, and that does not go together with the C library's.
struct AddressRequest {
  in6_addr address;
  std::uint32_t prefix_bits;
  int interface;
};

bool leads_to_itself(const base::SocketAddress& address) {
  try {
    return base::local_address_towards("it", {address}).scoped_host() == address.scoped_host();
  } catch (const Error&) {
    return false;
  }
}

/// Moves this process to a network of its own whose loopback has the link-local address fe80::1 in place of
/// ::1.
bool enter_network_with_link_local_address() {
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return false;
  const base::UniqueFd socket(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq loopback{};
  std::strcpy(loopback.ifr_name, "lo");
  loopback.ifr_flags = IFF_UP | IFF_RUNNING;
  AddressRequest usual{in6addr_loopback, 128, 1};
  AddressRequest address{{}, 64, 1};
  ::inet_pton(AF_INET6, "fe80::1", &address.address);
  const bool is_set = ::ioctl(socket.get(), SIOCSIFFLAGS, &loopback) == 0 &&
                      ::ioctl(socket.get(), SIOCDIFADDR, &usual) == 0 &&
                      ::ioctl(socket.get(), SIOCSIFADDR, &address) == 0;
  // The kernel takes it into use a little later.
  while (is_set && !leads_to_itself(base::numeric_address("fe80::1%lo", 0))) std::this_thread::yield();
  return is_set;
}

/// Runs `body` in a process whose network `enter` has made.
template <typename Enter, typename Body>
void in_network(Enter enter, Body body) {
  constexpr int kNoSuchNetwork = 77;
  const pid_t child = ::fork();
  if (child == 0) {
    if (!enter()) std::_Exit(kNoSuchNetwork);
    body();
    std::_Exit(testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == kNoSuchNetwork) {
    GTEST_SKIP() << "this process may not make networks";
  }
  EXPECT_EQ(status, 0);
}

TEST(ListeningAddress, MayBeLinkLocalOnTheInterfaceThatLeadsToTheStore) {
  in_network(enter_network_with_link_local_address, [] {
    const auto records = records_of_run("tcp://[fe80::1%lo]:1");
    EXPECT_THAT(records, testing::AllOf(testing::SizeIs(2), testing::Each(testing::HasSubstr("fe80::1"))));
  });
}

/// Process 0 of two on different hosts; what it tells the other.
class TwoHosts : public transport::MpiGroup {
 public:
  void open(transport::Clock::time_point) override {}
  [[nodiscard]] int rank() const noexcept override { return 0; }
  [[nodiscard]] int size() const noexcept override { return 2; }
  [[nodiscard]] bool are_alike(const std::string&, transport::Clock::time_point) override { return false; }
  [[nodiscard]] std::string from_first(const std::string& text, transport::Clock::time_point) override {
    return told = text;
  }
  [[nodiscard]] std::unique_ptr<transport::MpiMeetings> meet(const transport::EndpointOptions&, Store&,
                                                             transport::MeshDirectory&,
                                                             const std::vector<int>&,
                                                             transport::Clock::time_point) override {
    return nullptr;
  }
  std::string told;
};

TEST(ListeningAddress, OfAStoreForSeveralHostsIsNotThisHostsOwn) {
  const auto enter = [] { return ::unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0; };
  in_network(enter, [] {
    const auto group = std::make_shared<TwoHosts>();
    CommunicatorOptions options;
    options.world_size = 2;
    options.mpi = group;
    try {
      (void)open_store(options);
      ADD_FAILURE() << "it serves one: " << group->told;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr("GRADWIRE_INTERFACE"));
      EXPECT_EQ(group->told, std::string("-") + error.what());
    }
  });
}

}  // namespace
}  // namespace gradwire
