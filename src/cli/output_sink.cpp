#include "cli/output_sink.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

namespace gradwire::cli {

OutputSink::OutputSink(int fd) : fd_(fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return;
  if (S_ISFIFO(status.st_mode) || ::isatty(fd) != 0) {
    // The description that we were given is shared with others, who may not expect it to become non-blocking.
    const std::string path = fmt::format("/proc/self/fd/{}", fd);
    own_.reset(::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  }
  if (own_ || S_ISREG(status.st_mode)) piece_ = SIZE_MAX;
}

void OutputSink::write_some() {
  while (!empty()) {
    const auto wrote = ::write(fd(), queue_.data() + written_, std::min(piece_, queue_.size() - written_));
    if (wrote >= 0) {
      written_ += static_cast<std::size_t>(wrote);
      if (piece_ != SIZE_MAX) break;
    } else if (errno == EAGAIN) {
      break;
    } else if (errno != EINTR) {
      if (errno == EPIPE || errno == ECONNRESET) {
        abandoned_ = true;
      } else if (error_ == 0) {
        error_ = errno;
      }
      written_ = queue_.size();
    }
  }
  if (written_ >= queue_.size() / 2) {
    queue_.erase(0, written_);
    written_ = 0;
  }
}

}  // namespace gradwire::cli
