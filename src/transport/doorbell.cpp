#include "transport/doorbell.hpp"

#include <sys/eventfd.h>

#include <cstdint>

#include "base/system_error.hpp"

namespace gradwire::transport {

Doorbell::Doorbell() : fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (!fd_) throw base::system_error("cannot create an eventfd", "raise the limit on open files (ulimit -n)");
}

void Doorbell::ring() const noexcept {
  const std::uint64_t one = 1;
  // It can only fail when it is ringing already.
  [[maybe_unused]] const auto written = ::write(fd_.get(), &one, sizeof one);
}

void Doorbell::silence() const noexcept {
  std::uint64_t rings = 0;
  [[maybe_unused]] const auto taken = ::read(fd_.get(), &rings, sizeof rings);
}

}  // namespace gradwire::transport
