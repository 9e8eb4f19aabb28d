#include "transport/pair_memory.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <new>
#include <utility>

#include "base/system_error.hpp"

namespace gradwire::transport {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kPairBytes = (sizeof(Pair) + kPage - 1) / kPage * kPage;
constexpr std::size_t kRingBytes = kRingSlots * wire::kMaxPayload;
constexpr std::size_t kTotalBytes = kPairBytes + 2 * kRingBytes;
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
constexpr const char* kMemoryAdvice =
    "free some memory on this host, or raise the limits on memory and open files";

void* map_shared(int fd, int flags) {
  void* base = ::mmap(nullptr, kTotalBytes, PROT_READ | PROT_WRITE, flags, fd, 0);
  if (base == MAP_FAILED)
    throw base::system_error("cannot map memory to share with a local rank", kMemoryAdvice);
  return base;
}

}  // namespace

PairMemory::PairMemory(void* base) noexcept
    : base_(static_cast<std::byte*>(base)), pair_(std::launder(static_cast<Pair*>(base))) {}

PairMemory::PairMemory(PairMemory&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)), pair_(std::exchange(other.pair_, nullptr)) {}

PairMemory::~PairMemory() {
  if (base_ != nullptr) ::munmap(base_, kTotalBytes);
}

PairMemory PairMemory::anonymous() {
  void* base = map_shared(-1, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
  new (base) Pair;
  return PairMemory(base);
}

PairMemory PairMemory::create(base::UniqueFd& fd_out) {
  base::UniqueFd fd(::memfd_create("gradwire", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd || ::ftruncate(fd.get(), kTotalBytes) != 0 || ::fcntl(fd.get(), F_ADD_SEALS, kSeals) != 0) {
    throw base::system_error("cannot create memory to share with a local rank", kMemoryAdvice);
  }
  void* base = map_shared(fd.get(), MAP_SHARED);
  new (base) Pair;
  fd_out = std::move(fd);
  return PairMemory(base);
}

PairMemory PairMemory::map(const base::UniqueFd& fd, int peer) {
  struct stat status = {};
  // Without the seals a peer could shrink it under our feet, and reading it would kill this process.
  const bool fits = ::fstat(fd.get(), &status) == 0 &&
                    static_cast<std::size_t>(status.st_size) == kTotalBytes &&
                    (::fcntl(fd.get(), F_GET_SEALS) & kSeals) == kSeals;
  if (!fits) {
    throw Error(ErrorCode::corrupt_frame,
                fmt::format("rank {} passed something else than memory to share", peer),
                "make sure that only ranks of this job connect here", peer);
  }
  return PairMemory(map_shared(fd.get(), MAP_SHARED));
}

std::uint64_t PairMemory::layout() noexcept { return kTotalBytes << 16U | sizeof(Pair); }

std::byte* PairMemory::payloads(std::size_t index) const noexcept {
  return base_ + kPairBytes + index * kRingBytes;
}

}  // namespace gradwire::transport
