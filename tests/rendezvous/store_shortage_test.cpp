#include <fmt/format.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <memory>
#include <string>

#include "base/stream_socket.hpp"
#include "gradwire/store.hpp"
#include "rendezvous/store_protocol.hpp"
#include "rendezvous/store_search.hpp"
#include "rendezvous/store_server.hpp"
#include "rendezvous/store_socket.hpp"
#include "rendezvous/store_url.hpp"

// A store's server when the kernel lacks what a reply needs: it takes no byte at once, and has no memory to
// tell later when it would.

namespace {

std::atomic<bool> shortage{false};
thread_local bool is_tester = false;  // whose own calls work

bool has_shortage() noexcept { return shortage && !is_tester; }

}  // namespace

extern "C" {

// Take the place of the C library's in this program.
ssize_t send(int fd, const void* buf, size_t n, int flags) {
  if (has_shortage()) {
    errno = EAGAIN;
    return -1;
  }
  return ::syscall(SYS_sendto, fd, buf, n, flags, nullptr, 0);
}

int epoll_ctl(int epfd, int op, int fd, epoll_event* event) noexcept {
  if (has_shortage() && op == EPOLL_CTL_MOD) {
    errno = ENOMEM;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_epoll_ctl, epfd, op, fd, event));
}
}

namespace gradwire::rendezvous {
namespace {

using namespace std::chrono_literals;

class Shortage : public testing::Test {
 protected:
  Shortage() {
    is_tester = true;
    const auto url = parse_store_url(fmt::format("unix://gradwire-shortage-{}?job=j", getpid()));
    server_ = std::make_unique<StoreServer>(open_listeners(url, 5s), "j", true);
    bystander_ = open_store(url.text(), 1, 5s);
    victim_ = find_store(url, {kStoreVersion, 2, 99, "j"}, 5s).fd;
  }
  void TearDown() override { shortage = false; }

  /// The victim asks for a key that is not there.
  void ask(std::chrono::milliseconds patience) {
    ASSERT_TRUE(send_all(victim_.get(), write_request({StoreVerb::get, patience, "key", ""}), soon()));
  }

  /// Only the connection that the reply was for may go.
  void expect_that_the_victim_alone_pays() {
    char byte = 0;
    ASSERT_TRUE(base::wait_for(victim_.get(), POLLIN, soon()));
    EXPECT_EQ(::recv(victim_.get(), &byte, 1, 0), 0);
    shortage = false;
    bystander_->set("still", "there");
    EXPECT_EQ(server_->get("still", 5s), "there");
  }

  static Clock::time_point soon() { return Clock::now() + 20s; }

  std::unique_ptr<StoreServer> server_;
  std::shared_ptr<Store> bystander_;
  base::UniqueFd victim_;
};

TEST_F(Shortage, AtTheEndOfAWaitEndsThatConnectionOnly) {
  shortage = true;
  ask(1ms);
  expect_that_the_victim_alone_pays();
}

TEST_F(Shortage, AtAKeyThatRankZeroSetsEndsThatConnectionOnly) {
  ask(60s);
  shortage = true;
  server_->set("key", "value");
  expect_that_the_victim_alone_pays();
}

TEST_F(Shortage, AtTheEndOfTheStoreEndsNothingElse) {
  ask(60s);
  shortage = true;
  server_->set("key", "value");
  server_.reset();
  char byte = 0;
  EXPECT_LE(::recv(victim_.get(), &byte, 1, 0), 0);
}

}  // namespace
}  // namespace gradwire::rendezvous
