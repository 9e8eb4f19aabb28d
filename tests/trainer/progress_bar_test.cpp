#include "trainer/progress_bar.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <initializer_list>
#include <string>

namespace gradwire::trainer {
namespace {

using testing::EndsWith;
using testing::StartsWith;

constexpr const char* kEraseLine = "\r\033[K";

/// A terminal that is this process's standard error for a while.
class Terminal {
 public:
  Terminal(unsigned short columns, const char* type) {
    winsize size{};
    size.ws_row = 24;
    size.ws_col = columns;
    if (openpty(&screen_, &line_, nullptr, nullptr, &size) != 0) return;
    before_ = dup(STDERR_FILENO);
    dup2(line_, STDERR_FILENO);
    setenv("TERM", type, 1);
  }
  ~Terminal() {
    if (!is_there()) return;
    dup2(before_, STDERR_FILENO);
    for (const int fd : {screen_, line_, before_}) close(fd);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  /// A folder that is made a system's root may have no pseudo-terminals.
  [[nodiscard]] bool is_there() const { return screen_ >= 0; }

  /// What has been printed since the last call.
  std::string take() const {
    // The mark makes sure that there is something to read.
    EXPECT_EQ(write(line_, "#", 1), 1);
    std::string out;
    while (out.empty() || out.back() != '#') {
      std::array<char, 1024> buffer{};
      const auto got = read(screen_, buffer.data(), buffer.size());
      if (got <= 0) break;
      out.append(buffer.data(), static_cast<std::size_t>(got));
    }
    if (!out.empty()) out.pop_back();
    return out;
  }

 private:
  int screen_ = -1;
  int line_ = -1;
  int before_ = -1;
};

TrainProgress halfway() {
  TrainProgress progress;
  progress.step = 5;
  progress.total_steps = 10;
  progress.train_loss = 0.5;
  return progress;
}

TEST(ProgressBar, is_gone_before_anything_else_is_printed) {
  Terminal terminal(200, "xterm");
  if (!terminal.is_there()) GTEST_SKIP() << "no pseudo-terminals here";
  ProgressBar bar;
  bar.show(halfway());
  const std::string drawn = terminal.take();
  EXPECT_THAT(drawn, StartsWith(std::string(kEraseLine) + "[=============== "));
  EXPECT_THAT(drawn, EndsWith(" s"));
  bar.clear();
  EXPECT_EQ(terminal.take(), kEraseLine);
  bar.clear();
  EXPECT_EQ(terminal.take(), "");
}

TEST(ProgressBar, stays_within_one_line) {
  for (const unsigned short columns : std::initializer_list<unsigned short>{1, 10, 40}) {
    Terminal terminal(columns, "xterm");
    if (!terminal.is_there()) GTEST_SKIP() << "no pseudo-terminals here";
    ProgressBar bar;
    bar.show(halfway());
    EXPECT_EQ(terminal.take().size(), std::string(kEraseLine).size() + columns - 1);
  }
}

TEST(ProgressBar, sends_nothing_that_a_terminal_does_not_understand) {
  Terminal terminal(200, "dumb");
  if (!terminal.is_there()) GTEST_SKIP() << "no pseudo-terminals here";
  ProgressBar bar;
  bar.show(halfway());
  bar.clear();
  EXPECT_EQ(terminal.take(), "");
}

}  // namespace
}  // namespace gradwire::trainer
