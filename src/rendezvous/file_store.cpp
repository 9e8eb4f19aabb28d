#include "rendezvous/file_store.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <thread>

#include "base/byte_reader.hpp"
#include "base/byte_writer.hpp"
#include "base/limits.hpp"
#include "base/system_error.hpp"
#include "gradwire/error.hpp"
#include "rendezvous/store_protocol.hpp"

namespace gradwire::rendezvous {
namespace {

using std::chrono::milliseconds;

// A file is the magic and records: size:u32 kind:u8 rank:u32 generation:u64 job:u16+bytes key:u16+bytes
// value.
constexpr std::string_view kFileMagic = "gradwire store 1\n";
constexpr std::uint8_t kBegin = 1;  // rank 0 begins a generation of the job
constexpr std::uint8_t kJoin = 2;   // a rank is in it
constexpr std::uint8_t kSet = 3;
constexpr std::uint8_t kEnd = 4;  // nobody may join any more
constexpr std::size_t kRecordHead = 17;
constexpr std::size_t kMaxRecord = kRecordHead + base::kMaxJobBytes + kMaxKey + kMaxValue;

/// A process that was stopped while it held the lock would otherwise hold up everybody forever.
constexpr std::chrono::seconds kLockPatience{60};

}  // namespace

class FileStore::Lock {
 public:
  Lock(const FileStore& store, int kind, Clock::time_point deadline) : fd_(store.fd_.get()) {
    while (::flock(fd_, kind | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK && errno != EINTR) store.fail("cannot be locked");
      if (Clock::now() >= deadline) store.fail("is locked by another process all the time");
      std::this_thread::sleep_for(milliseconds(1));
    }
  }
  ~Lock() { ::flock(fd_, LOCK_UN); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  int fd_;
};

FileStore::FileStore(std::string path, std::string job, int rank, milliseconds timeout)
    : path_(std::move(path)),
      job_(std::move(job)),
      rank_(static_cast<std::uint32_t>(rank)),
      fd_(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600)) {
  if (!fd_) fail("cannot be opened");
  struct stat status {};
  if (::fstat(fd_.get(), &status) != 0) fail("cannot be examined");
  if (!S_ISREG(status.st_mode)) not_a_store();

  if (rank == 0) {
    begin();
    return;
  }
  const auto deadline = Clock::now() + std::min(timeout, kLongestWait);
  milliseconds pause{2};
  while (!try_to_join()) {
    if (Clock::now() >= deadline) {
      throw Error(ErrorCode::timeout,
                  fmt::format("rank {} waited {:.3g} s for rank 0 to begin job '{}' in the store {}", rank,
                              std::chrono::duration<double>(timeout).count(), job_, path_),
                  "check that rank 0 is running, with the same GRADWIRE_JOB, and sees the same file", 0);
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, milliseconds(50));
  }
}

FileStore::~FileStore() {
  if (rank_ != 0) return;
  try {
    const Lock lock(*this, LOCK_EX, Clock::now() + std::chrono::seconds(1));
    catch_up();
    append(kEnd, rank_, {}, {});
  } catch (const std::exception&) {
    // Then the generation stays open, as if this process had been killed: late ranks time out.
  }
}

void FileStore::begin() {
  const Lock lock(*this, LOCK_EX, Clock::now() + kLockPatience);
  catch_up();
  ++generation_;
  joined_ = true;
  ended_ = false;
  values_.clear();
  append(kBegin, rank_, {}, {});
}

bool FileStore::try_to_join() {
  const Lock lock(*this, LOCK_EX, Clock::now() + kLockPatience);
  catch_up();
  if (generation_ == 0 || ended_ || members_.contains(rank_)) return false;
  joined_ = true;
  append(kJoin, rank_, {}, {});
  return true;
}

void FileStore::set(const std::string& key, const std::string& value) {
  check_entry(key, value);
  const std::lock_guard guard(mutex_);
  const Lock lock(*this, LOCK_EX, Clock::now() + kLockPatience);
  catch_up();
  append(kSet, rank_, key, value);
}

std::optional<std::string> FileStore::get(const std::string& key, milliseconds timeout) {
  const auto deadline = Clock::now() + std::min(timeout, kLongestWait);
  milliseconds pause{1};
  for (;;) {
    {
      const std::lock_guard guard(mutex_);
      const Lock lock(*this, LOCK_SH, Clock::now() + kLockPatience);
      catch_up();
      const auto found = values_.find(key);
      if (found != values_.end()) return found->second;
    }
    const auto now = Clock::now();
    if (now >= deadline) return std::nullopt;
    std::this_thread::sleep_for(std::min<std::chrono::nanoseconds>(pause, deadline - now));
    pause = std::min(pause * 2, milliseconds(20));
  }
}

void FileStore::catch_up() {
  struct stat status {};
  if (::fstat(fd_.get(), &status) != 0) fail("cannot be examined");
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size < end_) fail("became shorter while it was in use");

  std::string bytes;
  const auto read_on = [&](std::size_t wanted) {
    const std::size_t had = bytes.size();
    bytes.resize(had + wanted);
    const auto got = ::pread(fd_.get(), bytes.data() + had, wanted, static_cast<off_t>(end_ + had));
    if (got < 0) fail("cannot be read");
    bytes.resize(had + static_cast<std::size_t>(got));
    return got > 0;
  };
  if (end_ == 0) {
    if (size == 0) return;
    read_on(kFileMagic.size());
    if (bytes != kFileMagic) not_a_store();
    end_ = kFileMagic.size();
    bytes.clear();
  }
  constexpr std::size_t kPiece = 65536;
  while (end_ + bytes.size() < size && read_on(kPiece)) {
    std::size_t used = 0;
    for (;;) {
      base::ByteReader reader(std::as_bytes(std::span(bytes)).subspan(used));
      const std::size_t length = reader.read<std::uint32_t>();
      if (!reader.ok()) break;
      if (length < kRecordHead || length > kMaxRecord) not_a_store();
      if (reader.remaining() < length) break;
      take(std::string_view(bytes).substr(used + 4, length));
      used += 4 + length;
    }
    bytes.erase(0, used);
    end_ += used;
  }
}

void FileStore::take(std::string_view record) {
  base::ByteReader reader(std::as_bytes(std::span(record)));
  const auto kind = reader.read<std::uint8_t>();
  const auto rank = reader.read<std::uint32_t>();
  const auto generation = reader.read<std::uint64_t>();
  const std::string job = reader.short_text();
  std::string key = reader.short_text();
  if (!reader.ok() || kind < kBegin || kind > kEnd) not_a_store();
  if (job != job_) return;
  if (kind == kBegin && !joined_ && generation > generation_) {
    generation_ = generation;
    ended_ = false;
    members_.clear();
    values_.clear();
  }
  if (generation != generation_) return;
  if (kind == kBegin || kind == kJoin) members_.insert(rank);
  if (kind == kSet) values_[std::move(key)] = reader.text(reader.remaining());
  if (kind == kEnd) ended_ = true;
}

void FileStore::append(std::uint8_t kind, std::uint32_t rank, const std::string& key,
                       const std::string& value) {
  const std::size_t length = kRecordHead + job_.size() + key.size() + value.size();
  const std::size_t magic = end_ == 0 ? kFileMagic.size() : 0;
  std::string bytes(magic + 4 + length, '\0');
  base::ByteWriter writer(std::as_writable_bytes(std::span(bytes)));
  if (magic != 0) writer.text(kFileMagic);
  writer.write(static_cast<std::uint32_t>(length));
  writer.write(kind);
  writer.write(rank);
  writer.write(generation_);
  writer.short_text(job_);
  writer.short_text(key);
  writer.text(value);

  // Half a record that somebody left who was killed while writing.
  if (::ftruncate(fd_.get(), static_cast<off_t>(end_)) != 0) fail("cannot be written");
  std::size_t done = 0;
  while (done < bytes.size()) {
    const auto wrote =
        ::pwrite(fd_.get(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(end_ + done));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) fail("cannot be written");
    done += static_cast<std::size_t>(wrote);
  }
  end_ += magic;
  take(std::string_view(bytes).substr(magic + 4));
  end_ += 4 + length;
}

void FileStore::fail(std::string_view what) const {
  throw Error(ErrorCode::system, fmt::format("the store {} {}: {}", path_, what, base::errno_text(errno)),
              "choose a file that every rank can read, write and lock");
}

void FileStore::not_a_store() const {
  throw Error(ErrorCode::invalid_argument,
              fmt::format("{} is not a store's file, or is damaged; it was left as it is", path_),
              "name a file that does not exist yet");
}

}  // namespace gradwire::rendezvous
