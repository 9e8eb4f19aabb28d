#include "trainer/progress_bar.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <string>

namespace gradwire::trainer {

namespace {
constexpr std::size_t kWidth = 30;
constexpr std::chrono::milliseconds kPause{100};
}  // namespace

ProgressBar::ProgressBar() : visible_(isatty(STDERR_FILENO) == 1) {}

ProgressBar::~ProgressBar() {
  if (drawn_) std::fputs("\r\033[K", stderr);
}

void ProgressBar::show(const TrainProgress& progress) {
  const auto now = std::chrono::steady_clock::now();
  if (!visible_ || (drawn_ && now - last_ < kPause && progress.step != progress.total_steps)) return;
  last_ = now;
  drawn_ = true;
  const std::size_t filled = kWidth * progress.step / progress.total_steps;
  std::string line = fmt::format("\r\033[K[{:<{}}] step {}/{}  loss {:.4f}", std::string(filled, '='), kWidth,
                                 progress.step, progress.total_steps, progress.train_loss);
  if (progress.test_accuracy >= 0) line += fmt::format("  accuracy {:.2f} %", 100 * progress.test_accuracy);
  line += fmt::format("  {:.0f} s", progress.seconds);
  std::fputs(line.c_str(), stderr);
  std::fflush(stderr);
}

}  // namespace gradwire::trainer
