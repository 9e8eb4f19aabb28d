#include "server/snapshot.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <string_view>
#include <utility>

#include "base/byte_reader.hpp"
#include "base/byte_writer.hpp"
#include "base/checksum.hpp"
#include "base/system_error.hpp"
#include "gradwire/error.hpp"

namespace gradwire::server {
namespace {

constexpr std::string_view kMagic = "GWSERVER";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeaderBytes = 48;
constexpr std::size_t kHeaderCrcOffset = kHeaderBytes - 4;
constexpr std::string_view kSuffix = ".snapshot";
constexpr std::size_t kDigits = 12;
constexpr std::size_t kKept = 2;
constexpr std::string_view kAdvice = "check that the folder is there and may be written to";

using HeaderBytes = std::array<std::byte, kHeaderBytes>;

struct Header {
  std::uint64_t clock = 0;
  std::uint64_t incarnation = 0;
  std::uint64_t length = 0;
  std::uint32_t crc = 0;
};

HeaderBytes write_header(const Header& header, std::uint32_t index) noexcept {
  HeaderBytes bytes;
  base::ByteWriter writer(bytes);
  writer.text(kMagic);
  writer.write(kVersion);
  writer.write(index);
  writer.write(header.clock);
  writer.write(header.incarnation);
  writer.write(header.length);
  writer.write(header.crc);
  writer.write(base::crc32c(std::span(bytes).first(kHeaderCrcOffset)));
  return bytes;
}

/// What is wrong is kept apart from the advice, for whoever goes on from an older one.
class Damaged : public Error {
 public:
  explicit Damaged(std::string what_is_wrong)
      : Error(ErrorCode::corrupt_frame, what_is_wrong, "restore the file from a copy"),
        reason(std::move(what_is_wrong)) {}

  std::string reason;
};

[[noreturn]] void refuse(const std::string& name, std::string_view what) {
  throw Damaged(fmt::format("snapshot {} {}", name, what));
}

Header read_header(std::span<const std::byte> bytes, std::uint64_t file_size, std::uint32_t index,
                   const std::string& name) {
  if (bytes.size() < kHeaderBytes) refuse(name, "is too short to be one");
  base::ByteReader reader(bytes);
  if (reader.text(kMagic.size()) != kMagic) refuse(name, "does not begin as one does");
  // Magic, version and this checksum keep their places in every version.
  base::ByteReader crc(bytes.subspan(kHeaderCrcOffset));
  if (crc.read<std::uint32_t>() != base::crc32c(bytes.first(kHeaderCrcOffset)))
    refuse(name, "has a damaged header");
  const auto version = reader.read<std::uint32_t>();
  if (version != kVersion) {
    throw Error(
        ErrorCode::version_mismatch,
        fmt::format("snapshot {} has version {}, this program reads version {}", name, version, kVersion),
        "serve with the program that wrote it, or choose another folder");
  }
  const auto of_server = reader.read<std::uint32_t>();
  if (of_server != index) refuse(name, fmt::format("is of server {}, not of server {}", of_server, index));
  Header header;
  header.clock = reader.read<std::uint64_t>();
  header.incarnation = reader.read<std::uint64_t>();
  header.length = reader.read<std::uint64_t>();
  header.crc = reader.read<std::uint32_t>();
  if (header.length != file_size - kHeaderBytes) {
    refuse(name, fmt::format("has {} bytes where {} belong", file_size, kHeaderBytes + header.length));
  }
  return header;
}

void check_bytes(std::span<const std::byte> bytes, const Header& header, const std::string& name) {
  if (base::crc32c(bytes) != header.crc) refuse(name, "is damaged: its checksum is wrong");
}

[[noreturn]] void fail(std::string_view action, const std::filesystem::path& path) {
  const bool is_full = errno == ENOSPC || errno == EDQUOT;
  const std::string advice =
      is_full ? fmt::format("make room in {} or give the option snapshot_dir another folder",
                            path.parent_path().string())
              : std::string(kAdvice);
  throw base::system_error(fmt::format("cannot {} {}", action, path.string()), advice);
}

void write_all(int file, std::span<const std::byte> bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("write the snapshot", path);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void read_all(int file, std::span<std::byte> bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t got = ::read(file, bytes.data(), bytes.size());
    if (got < 0 && errno == EINTR) continue;
    // A disk that cannot read a file any more has damaged it.
    if (got < 0 && errno == EIO) refuse(path.string(), "cannot be read: " + base::errno_text(EIO));
    if (got < 0) fail("read the snapshot", path);
    if (got == 0) refuse(path.string(), "became shorter while it was read");
    bytes = bytes.subspan(static_cast<std::size_t>(got));
  }
}

Snapshot read_snapshot(const std::filesystem::path& path, std::uint32_t index) {
  const base::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  if (!file || ::fstat(file.get(), &status) != 0) fail("open the snapshot", path);
  const auto size = static_cast<std::uint64_t>(status.st_size);
  HeaderBytes bytes{};
  const auto head = std::span(bytes).first(std::min<std::uint64_t>(size, kHeaderBytes));
  read_all(file.get(), head, path);
  // The header is judged before memory is taken for the rest.
  const Header header = read_header(head, size, index, path.string());
  Snapshot snapshot{header.clock, header.incarnation, StateBytes(header.length)};
  read_all(file.get(), snapshot.bytes, path);
  check_bytes(snapshot.bytes, header, path.string());
  return snapshot;
}

void flush_folder(const std::filesystem::path& folder) {
  const base::UniqueFd directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory || ::fsync(directory.get()) != 0) fail("flush the folder", folder);
}

}  // namespace

Snapshot parse_snapshot(std::span<const std::byte> file, std::uint32_t index, const std::string& name) {
  const Header header = read_header(file, file.size(), index, name);
  const auto bytes = file.subspan(kHeaderBytes);
  check_bytes(bytes, header, name);
  return {header.clock, header.incarnation, {bytes.begin(), bytes.end()}};
}

SnapshotFolder::SnapshotFolder(std::filesystem::path folder, std::uint32_t index)
    : folder_(std::move(folder)), index_(index) {
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  if (error) {
    throw Error(ErrorCode::system,
                fmt::format("cannot make the snapshot folder {}: {}", folder_.string(), error.message()),
                kAdvice);
  }
  constexpr mode_t kReadableByAll = 0644;
  const auto path = folder_ / fmt::format("server-{}.lock", index_);
  lock_ = base::UniqueFd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kReadableByAll));
  if (!lock_) fail("write into the snapshot folder: create", path);
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) fail("lock", path);
    throw Error(
        ErrorCode::system,
        fmt::format("another process keeps the snapshots of server {} in {}", index_, folder_.string()),
        "end that one first, or choose another folder");
  }
  // Left by one that was killed while it wrote.
  ::unlink(temporary().c_str());
  const auto found = files();
  if (!found.empty()) last_number_ = found.front().number;
}

void SnapshotFolder::write(std::span<const std::byte> bytes, std::uint64_t clock, std::uint64_t incarnation) {
  const HeaderBytes header = write_header({clock, incarnation, bytes.size(), base::crc32c(bytes)}, index_);
  const auto path = folder_ / fmt::format("server-{}.{:0{}}{}", index_, last_number_ + 1, kDigits, kSuffix);
  try {
    write_temporary(header, bytes);
    if (::rename(temporary().c_str(), path.c_str()) != 0) fail("rename the snapshot to", path);
  } catch (const Error&) {
    ::unlink(temporary().c_str());
    throw;
  }
  ++last_number_;
  flush_folder(folder_);
  whole_.push_back(last_number_);
  prune();
}

void SnapshotFolder::write_temporary(std::span<const std::byte> header,
                                     std::span<const std::byte> bytes) const {
  const auto path = temporary();
  constexpr mode_t kReadableByAll = 0644;
  base::UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kReadableByAll));
  if (!file) fail("create", path);
  write_all(file.get(), header, path);
  write_all(file.get(), bytes, path);
  if (::fsync(file.get()) != 0) fail("flush", path);
}

LatestSnapshot SnapshotFolder::latest() {
  LatestSnapshot found;
  for (const File& file : files()) {
    try {
      found.snapshot = read_snapshot(file.path, index_);
      found.path = file.path;
      if (std::ranges::find(whole_, file.number) == whole_.end()) whole_.insert(whole_.begin(), file.number);
      return found;
    } catch (const Damaged& damaged) {
      std::erase(whole_, file.number);
      found.skipped.push_back({file.path, damaged.reason});
    }
  }
  return found;
}

std::vector<SnapshotFolder::File> SnapshotFolder::files() const {
  const std::string prefix = fmt::format("server-{}.", index_);
  std::vector<File> found;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder_, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(prefix) || !name.ends_with(kSuffix)) continue;
    const std::string_view digits =
        std::string_view(name).substr(prefix.size(), name.size() - prefix.size() - kSuffix.size());
    std::uint64_t number = 0;
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (parsed.ec != std::errc{} || parsed.ptr != digits.data() + digits.size() || digits.size() != kDigits)
      continue;
    found.push_back({number, entry->path()});
  }
  if (error) {
    throw Error(ErrorCode::system,
                fmt::format("cannot read the snapshot folder {}: {}", folder_.string(), error.message()),
                kAdvice);
  }
  std::ranges::sort(found, std::ranges::greater(), &File::number);
  return found;
}

std::filesystem::path SnapshotFolder::temporary() const {
  return folder_ / fmt::format("server-{}.tmp", index_);
}

void SnapshotFolder::prune() {
  // Until there are two that are known to be whole, an older one may be needed yet.
  if (whole_.size() < kKept) return;
  whole_.erase(whole_.begin(), whole_.end() - kKept);
  for (const File& file : files()) {
    if (std::ranges::find(whole_, file.number) == whole_.end()) ::unlink(file.path.c_str());
  }
}

}  // namespace gradwire::server
