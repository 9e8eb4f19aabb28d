#pragma once

#include "base/unique_fd.hpp"

namespace gradwire::transport {

/// Ends a rank's sleep from another thread or process: an eventfd, which each peer holds a descriptor of.
/// Thread-safe.
class Doorbell {
 public:
  /// Throws Error(system).
  Doorbell();
  /// A peer's, as it came over a socket.
  explicit Doorbell(base::UniqueFd fd) noexcept : fd_(std::move(fd)) {}

  void ring() const noexcept;
  /// Forgets all rings so far.
  void silence() const noexcept;
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

 private:
  base::UniqueFd fd_;
};

}  // namespace gradwire::transport
