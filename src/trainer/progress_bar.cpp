#include "trainer/progress_bar.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace gradwire::trainer {

namespace {
constexpr std::size_t kWidth = 30;
constexpr std::chrono::milliseconds kPause{100};
constexpr const char* kEraseLine = "\r\033[K";

bool can_redraw() {
  const char* const terminal = std::getenv("TERM");
  return isatty(STDERR_FILENO) == 1 && terminal != nullptr && std::string_view(terminal) != "dumb";
}

/// A longer line would go on in the next one, and could not be erased.
std::size_t room() {
  constexpr std::size_t kUsual = 80;
  winsize size{};
  const bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return (known ? size.ws_col : kUsual) - 1;
}
}  // namespace

ProgressBar::ProgressBar() : visible_(can_redraw()) {}

ProgressBar::~ProgressBar() { clear(); }

void ProgressBar::clear() {
  const std::lock_guard lock(mutex_);
  if (!drawn_) return;
  drawn_ = false;
  std::fputs(kEraseLine, stderr);
  std::fflush(stderr);
}

void ProgressBar::show(const TrainProgress& progress) {
  const std::lock_guard lock(mutex_);
  const auto now = std::chrono::steady_clock::now();
  if (!visible_ || (drawn_ && now - last_ < kPause && progress.step != progress.total_steps)) return;
  last_ = now;
  drawn_ = true;
  const std::size_t filled = kWidth * progress.step / progress.total_steps;
  std::string line = fmt::format("[{:<{}}] step {}/{}  loss {:.4f}", std::string(filled, '='), kWidth,
                                 progress.step, progress.total_steps, progress.train_loss);
  if (progress.test_accuracy >= 0) line += fmt::format("  accuracy {:.2f} %", 100 * progress.test_accuracy);
  line += fmt::format("  {:.0f} s", progress.seconds);
  line.resize(std::min(line.size(), room()));
  line.insert(0, kEraseLine);
  std::fputs(line.c_str(), stderr);
  std::fflush(stderr);
}

}  // namespace gradwire::trainer
