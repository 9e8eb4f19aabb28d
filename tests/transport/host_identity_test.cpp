#include "transport/host_identity.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>

namespace gradwire::transport {
namespace {

/// A process that says who it is, and lives until it is killed.
class Process {
 public:
  Process() {
    std::array<int, 2> ends{};
    if (::pipe(ends.data()) != 0) throw std::runtime_error("pipe");
    id_ = ::fork();
    if (id_ == 0) {
      const std::string identity = process_identity();
      [[maybe_unused]] const auto written = ::write(ends[1], identity.data(), identity.size());
      for (;;) ::pause();
    }
    std::array<char, 500> buffer{};
    const auto size = ::read(ends[0], buffer.data(), buffer.size());
    if (size > 0) identity_.assign(buffer.data(), static_cast<std::size_t>(size));
    ::close(ends[0]);
    ::close(ends[1]);
  }
  ~Process() {
    kill();
    ::waitpid(id_, nullptr, 0);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void kill() const { ::kill(id_, SIGKILL); }
  [[nodiscard]] const std::string& identity() const { return identity_; }

 private:
  pid_t id_ = -1;
  std::string identity_;
};

bool ends_within(const base::UniqueFd& watched, int milliseconds) {
  pollfd wanted = {watched.get(), POLLIN, 0};
  return ::poll(&wanted, 1, milliseconds) == 1;
}

TEST(WatchProcess, TellsOfAnEndThatNobodyHasWaitedFor) {
  const Process process;
  const auto watched = watch_process(process.identity());
  ASSERT_TRUE(watched);
  EXPECT_FALSE(ends_within(watched, 0));
  process.kill();
  EXPECT_TRUE(ends_within(watched, 60'000));
}

TEST(WatchProcess, IsNotFooledByWhatElseIdentitiesMaySay) {
  const Process process;
  const std::string& identity = process.identity();
  EXPECT_FALSE(watch_process(identity + "0")) << "a later process of the same number";
  EXPECT_FALSE(watch_process("another-boot/" + identity));
  EXPECT_FALSE(watch_process(process_identity())) << "a thread of this process";
  const std::string place = identity.substr(0, identity.rfind('/', identity.rfind('/') - 1) + 1);
  for (const std::string rest : {"", "/", "1", "x/1", "-1/1", "0/1", "99999999999999/1", "2147483647/1"}) {
    EXPECT_FALSE(watch_process(place + rest)) << rest;
  }
  EXPECT_FALSE(watch_process(""));
}

}  // namespace
}  // namespace gradwire::transport
