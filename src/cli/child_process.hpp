#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

namespace gradwire::cli {

/// Owns a file descriptor, or none (-1).
class Descriptor {
 public:
  Descriptor() noexcept = default;
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { reset(); }

  [[nodiscard]] int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  void reset() noexcept;

 private:
  int fd_ = -1;
};

struct ChildOptions {
  std::string program;                                           ///< looked up in PATH unless it has a slash
  std::vector<std::string> arguments;                            ///< the first one is the program's name
  std::vector<std::pair<std::string, std::string>> environment;  ///< set on top of this process's
  bool capture = false;        ///< stdout and stderr come through pipes; else they are this process's
  bool inherit_input = false;  ///< else stdin is empty
};

/// A process in a group of its own, which the kernel kills when this process dies.
struct Child {
  pid_t pid = -1;
  Descriptor out;  ///< non-blocking, when captured
  Descriptor err;

  /// To the process and what it has started; nothing once it has been reaped.
  void signal(int number) const noexcept;
};

/// Throws std::system_error with the errno of what failed, ENOENT when there is no such program.
Child start_child(const ChildOptions& options);

}  // namespace gradwire::cli
