#include "server/snapshot.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <iterator>

#include "../support/temporary_folder.hpp"
#include "gradwire/error.hpp"
#include "tests/support/error_of.hpp"

namespace gradwire::server {
namespace {

namespace fs = std::filesystem;
using Bytes = StateBytes;

Bytes bytes_of(std::size_t size, unsigned seed) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 31 + seed);
  return bytes;
}

Bytes load(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

void save(const fs::path& path, const Bytes& bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

std::vector<std::string> snapshots_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    if (!name.ends_with(".lock")) names.push_back(name);
  }
  std::ranges::sort(names);
  return names;
}

TEST(Snapshot, IsReadAsTheFormatSays) {
  const fs::path golden = fs::path(GRADWIRE_TEST_DIR) / "../golden/server";
  const Snapshot snapshot = parse_snapshot(load(golden / "snapshot-good.bin"), 3, "golden");
  EXPECT_EQ(snapshot.clock, 1200U);
  EXPECT_EQ(snapshot.incarnation, 0xDEADBEEFCAFEF00DU);
  Bytes expected(100);
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = static_cast<std::byte>(i);
  EXPECT_EQ(snapshot.bytes, expected);

  const auto code = [&](const char* name, std::uint32_t index) {
    return error_of([&] { (void)parse_snapshot(load(golden / name), index, "golden"); })->code();
  };
  EXPECT_EQ(code("snapshot-good.bin", 2), ErrorCode::corrupt_frame);
  EXPECT_EQ(code("snapshot-other-version.bin", 3), ErrorCode::version_mismatch);
  EXPECT_EQ(code("snapshot-damaged.bin", 3), ErrorCode::corrupt_frame);

  const TemporaryFolder temporary;
  SnapshotFolder folder(temporary.path(), 3);
  folder.write(expected, snapshot.clock, snapshot.incarnation);
  EXPECT_EQ(load(temporary.path() / "server-3.000000000001.snapshot"), load(golden / "snapshot-good.bin"));
}

TEST(Snapshot, AnyCutAndAnyFlippedBitIsFound) {
  const TemporaryFolder temporary;
  SnapshotFolder folder(temporary.path(), 0);
  folder.write(bytes_of(200, 1), 5, 6);
  const Bytes whole = load(temporary.path() / "server-0.000000000001.snapshot");
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_THROW((void)parse_snapshot(std::span(whole).first(size), 0, "cut"), Error) << size;
  Bytes changed = whole;
  for (std::size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    changed[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    EXPECT_EQ(error_of([&] { (void)parse_snapshot(changed, 0, "flipped"); }).value().code(),
              ErrorCode::corrupt_frame);
    changed[bit / 8] = whole[bit / 8];
  }
  changed.push_back(std::byte{0});
  EXPECT_THROW((void)parse_snapshot(changed, 0, "longer"), Error);
}

TEST(SnapshotFolder, KeepsTheLastTwo) {
  const TemporaryFolder temporary;
  const fs::path path = temporary.path() / "made" / "as needed";
  {
    SnapshotFolder folder(path, 0);
    EXPECT_FALSE(folder.latest().snapshot);
    for (unsigned i = 1; i <= 4; ++i) {
      folder.write(bytes_of(1000 * i, i), 10 * i, 7);
      EXPECT_EQ(folder.latest().snapshot, (Snapshot{10 * i, 7, bytes_of(1000 * i, i)}));
    }
    EXPECT_EQ(snapshots_in(path),
              (std::vector<std::string>{"server-0.000000000003.snapshot", "server-0.000000000004.snapshot"}));
  }
  SnapshotFolder folder(path, 0);
  EXPECT_EQ(folder.latest().snapshot, (Snapshot{40, 7, bytes_of(4000, 4)}));
  folder.write({}, 1, 8);
  EXPECT_EQ(folder.latest().snapshot, (Snapshot{1, 8, {}})) << "the newest, whatever its clock";
  EXPECT_EQ(snapshots_in(path),
            (std::vector<std::string>{"server-0.000000000004.snapshot", "server-0.000000000005.snapshot"}));
}

TEST(SnapshotFolder, SkipsDamagedOnesAndSaysSo) {
  const TemporaryFolder temporary;
  const fs::path newest = temporary.path() / "server-0.000000000002.snapshot";
  {
    SnapshotFolder folder(temporary.path(), 0);
    folder.write(bytes_of(100, 1), 1, 7);
    folder.write(bytes_of(100, 2), 2, 7);
  }
  const Bytes whole = load(newest);
  SnapshotFolder folder(temporary.path(), 0);
  for (const std::size_t size : {std::size_t{0}, std::size_t{47}, std::size_t{48}, whole.size() - 1}) {
    save(newest, {whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)});
    const auto found = folder.latest();
    EXPECT_EQ(found.snapshot, (Snapshot{1, 7, bytes_of(100, 1)}));
    ASSERT_EQ(found.skipped.size(), 1U);
    EXPECT_EQ(found.skipped[0].path, newest);
    EXPECT_NE(found.skipped[0].reason.find(newest.string()), std::string::npos);
    EXPECT_EQ(found.skipped[0].reason.find(';'), std::string::npos) << "no advice: that is the caller's";
    if (size < 48) continue;
    const std::string sizes = "has " + std::to_string(size) + " bytes where 148 belong";
    EXPECT_NE(found.skipped[0].reason.find(sizes), std::string::npos) << found.skipped[0].reason;
  }
  // The only whole one outlives the next write, the damaged one does not.
  folder.write(bytes_of(100, 3), 3, 8);
  EXPECT_EQ(snapshots_in(temporary.path()),
            (std::vector<std::string>{"server-0.000000000001.snapshot", "server-0.000000000003.snapshot"}));

  for (const auto& name : snapshots_in(temporary.path())) save(temporary.path() / name, bytes_of(60, 0));
  const auto none = folder.latest();
  EXPECT_FALSE(none.snapshot);
  EXPECT_EQ(none.skipped.size(), 2U);
}

TEST(SnapshotFolder, DamageSinceItWasWrittenKeepsTheOlderOne) {
  const TemporaryFolder temporary;
  SnapshotFolder folder(temporary.path(), 0);
  folder.write(bytes_of(100, 1), 1, 7);
  folder.write(bytes_of(100, 2), 2, 7);
  save(temporary.path() / "server-0.000000000002.snapshot", bytes_of(60, 0));
  EXPECT_EQ(folder.latest().snapshot.value().clock, 1U);
  folder.write(bytes_of(100, 3), 3, 7);
  EXPECT_EQ(snapshots_in(temporary.path()),
            (std::vector<std::string>{"server-0.000000000001.snapshot", "server-0.000000000003.snapshot"}));
}

TEST(SnapshotFolder, RefusesAnotherVersion) {
  const TemporaryFolder temporary;
  SnapshotFolder folder(temporary.path(), 3);
  folder.write(bytes_of(100, 1), 1, 7);
  fs::copy_file(fs::path(GRADWIRE_TEST_DIR) / "../golden/server/snapshot-other-version.bin",
                temporary.path() / "server-3.000000000002.snapshot");
  const auto error = error_of([&] { (void)folder.latest(); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::version_mismatch) << error->what();
}

TEST(SnapshotFolder, IsSharedByServersOfDifferentIndices) {
  const TemporaryFolder temporary;
  SnapshotFolder one(temporary.path(), 1);
  SnapshotFolder eleven(temporary.path(), 11);
  for (unsigned i = 0; i < 3; ++i) {
    one.write(bytes_of(10, i), i, 1);
    eleven.write(bytes_of(20, i), i, 11);
  }
  EXPECT_EQ(one.latest().snapshot, (Snapshot{2, 1, bytes_of(10, 2)}));
  EXPECT_EQ(eleven.latest().snapshot, (Snapshot{2, 11, bytes_of(20, 2)}));
  EXPECT_EQ(snapshots_in(temporary.path()).size(), 4U);

  // One under another's name is damage.
  fs::copy_file(temporary.path() / "server-1.000000000003.snapshot",
                temporary.path() / "server-11.000000000009.snapshot");
  const auto found = eleven.latest();
  EXPECT_EQ(found.snapshot.value().incarnation, 11U);
  EXPECT_EQ(found.skipped.size(), 1U);
}

TEST(SnapshotFolder, IsLockedForOthers) {
  const TemporaryFolder temporary;
  {
    const SnapshotFolder first(temporary.path(), 2);
    const auto error = error_of([&] { const SnapshotFolder second(temporary.path(), 2); });
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code(), ErrorCode::system);
    EXPECT_NE(std::string(error->what()).find("server 2"), std::string::npos) << error->what();
  }
  EXPECT_FALSE(error_of([&] { const SnapshotFolder again(temporary.path(), 2); }));
}

TEST(SnapshotFolder, OverlooksWhatIsNotItsOwn) {
  const TemporaryFolder temporary;
  for (const char* name :
       {"server-0.snapshot", "server-0.x00000000001.snapshot", "server-0.99.snapshot",
        "server-0.18446744073709551615.snapshot", "server-0.000000000001.snapshot.old", "notes"}) {
    save(temporary.path() / name, bytes_of(10, 0));
  }
  SnapshotFolder folder(temporary.path(), 0);
  const auto found = folder.latest();
  EXPECT_FALSE(found.snapshot);
  EXPECT_TRUE(found.skipped.empty());
  for (unsigned i = 0; i < 3; ++i) folder.write({}, i, 1);
  EXPECT_EQ(snapshots_in(temporary.path()).size(), 8U);
}

TEST(SnapshotFolder, ClearsWhatAKilledServerLeft) {
  const TemporaryFolder temporary;
  save(temporary.path() / "server-0.tmp", bytes_of(10, 0));
  const SnapshotFolder folder(temporary.path(), 0);
  EXPECT_TRUE(snapshots_in(temporary.path()).empty());
}

TEST(SnapshotFolder, CannotBeMadeInAFile) {
  const TemporaryFolder temporary;
  save(temporary.path() / "file", {});
  const auto error = error_of([&] { const SnapshotFolder folder(temporary.path() / "file" / "folder", 0); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::system);
  EXPECT_NE(std::string(error->what()).find("folder"), std::string::npos) << error->what();
}

TEST(SnapshotFolder, NeedsTheRightToWrite) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  const TemporaryFolder temporary;
  fs::permissions(temporary.path(), fs::perms::owner_read | fs::perms::owner_exec);
  const auto error = error_of([&] { const SnapshotFolder folder(temporary.path(), 0); });
  fs::permissions(temporary.path(), fs::perms::owner_all);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::system) << error->what();
}

/// No file of this process may become larger, as on a full disk.
class FullDisk {
 public:
  explicit FullDisk(rlim_t most) {
    ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{most, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, SIG_DFL);
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  rlimit before_{};
};

TEST(SnapshotFolder, AFullDiskLeavesTheOlderOne) {
  const TemporaryFolder temporary;
  SnapshotFolder folder(temporary.path(), 0);
  folder.write(bytes_of(1000, 1), 1, 7);
  for (const rlim_t most : {rlim_t{0}, rlim_t{20}, rlim_t{1000}}) {
    std::optional<Error> error;
    {
      const FullDisk full(most);
      error = error_of([&] { folder.write(bytes_of(5000, 2), 2, 7); });
    }
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code(), ErrorCode::system) << error->what();
    EXPECT_EQ(snapshots_in(temporary.path()), (std::vector<std::string>{"server-0.000000000001.snapshot"}));
  }
  EXPECT_EQ(folder.latest().snapshot, (Snapshot{1, 7, bytes_of(1000, 1)}));
  folder.write(bytes_of(5000, 3), 3, 7);
  EXPECT_EQ(folder.latest().snapshot.value().clock, 3U);
}

TEST(SnapshotFolder, AKilledWriterLeavesWholeOnes) {
  const TemporaryFolder temporary;
  for (int round = 0; round < 10; ++round) {
    int pipe_ends[2];
    ASSERT_EQ(::pipe(pipe_ends), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      SnapshotFolder folder(temporary.path(), 0);
      for (unsigned i = 1;; ++i) {
        folder.write(bytes_of(300'000, i), i, 7);
        if (::write(pipe_ends[1], "w", 1) != 1) ::_exit(1);
      }
    }
    char written = 0;
    for (int i = 0; i <= round % 3; ++i) EXPECT_EQ(::read(pipe_ends[0], &written, 1), 1);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    ::close(pipe_ends[0]);
    ::close(pipe_ends[1]);

    SnapshotFolder folder(temporary.path(), 0);
    const auto found = folder.latest();
    ASSERT_TRUE(found.snapshot);
    EXPECT_TRUE(found.skipped.empty());
    EXPECT_EQ(found.snapshot->bytes, bytes_of(300'000, static_cast<unsigned>(found.snapshot->clock)));
  }
}

}  // namespace
}  // namespace gradwire::server
