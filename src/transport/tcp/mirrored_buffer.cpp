#include "transport/tcp/mirrored_buffer.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <utility>

#include "base/system_error.hpp"
#include "base/unique_fd.hpp"

namespace gradwire::transport {

MirroredBuffer::MirroredBuffer(std::size_t capacity) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t size = (capacity + page - 1) / page * page;
  const auto fail = [] {
    throw base::system_error("cannot map a receive buffer",
                             "free some memory, or raise the limit on open files");
  };
  const base::UniqueFd fd(::memfd_create("gradwire-inbox", MFD_CLOEXEC));
  if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) fail();
  void* base = ::mmap(nullptr, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) fail();
  base_ = static_cast<std::byte*>(base);
  capacity_ = size;
  for (std::byte* half : {base_, base_ + size}) {
    if (::mmap(half, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd.get(), 0) ==
        MAP_FAILED) {
      const Error error = base::system_error("cannot map a receive buffer", "free some memory");
      ::munmap(base_, 2 * size);
      throw Error(error);
    }
  }
}

MirroredBuffer::MirroredBuffer(MirroredBuffer&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)),
      capacity_(std::exchange(other.capacity_, 0)),
      begin_(std::exchange(other.begin_, 0)),
      size_(std::exchange(other.size_, 0)) {}

MirroredBuffer& MirroredBuffer::operator=(MirroredBuffer&& other) noexcept {
  std::swap(base_, other.base_);
  std::swap(capacity_, other.capacity_);
  std::swap(begin_, other.begin_);
  std::swap(size_, other.size_);
  return *this;
}

MirroredBuffer::~MirroredBuffer() {
  if (base_ != nullptr) ::munmap(base_, 2 * capacity_);
}

}  // namespace gradwire::transport
