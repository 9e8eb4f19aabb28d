#include "cli/job_beginning.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <system_error>

namespace gradwire::cli {
namespace {

constexpr const char* kVariable = "GRADWIRE_JOB_BEGINNING";

/// What started this process may have been told of the descriptor by its own parent, and may have closed it.
bool is_event(int fd) noexcept {
  std::array<char, 64> target{};
  const std::string link = fmt::format("/proc/self/fd/{}", fd);
  const ssize_t size = ::readlink(link.c_str(), target.data(), target.size());
  return size > 0 &&
         std::string_view(target.data(), static_cast<std::size_t>(size)) == "anon_inode:[eventfd]";
}

}  // namespace

JobBeginning::JobBeginning() : event_(::eventfd(0, EFD_NONBLOCK)) {
  if (event_.get() < 0) throw std::system_error(errno, std::generic_category(), "cannot make an event");
}

std::pair<std::string, std::string> JobBeginning::variable() const {
  return {kVariable, fmt::format("{}:{}", ::getpid(), event_.get())};
}

bool JobBeginning::has_come() const {
  pollfd readable{event_.get(), POLLIN, 0};
  return ::poll(&readable, 1, 0) == 1;
}

void tell_that_job_has_begun() noexcept {
  const char* const value = std::getenv(kVariable);
  int parent = 0;
  int fd = -1;
  if (value == nullptr || std::sscanf(value, "%d:%d", &parent, &fd) != 2) return;
  if (parent != ::getppid() || !is_event(fd)) return;
  const std::uint64_t one = 1;
  (void)!::write(fd, &one, sizeof one);
}

}  // namespace gradwire::cli
