#include "trainer/checkpoint.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <zlib.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <system_error>

#include "gradwire/error.hpp"
#include "trainer/joined.hpp"

namespace gradwire::trainer {

static_assert(std::endian::native == std::endian::little, "checkpoints are written as they lie in memory");

namespace {

constexpr std::string_view kMagic = "GWTRAIN\n";
constexpr std::uint32_t kVersion = 1;

struct Preamble {
  std::array<char, 8> magic;
  std::uint32_t version;
  std::uint32_t json_bytes;
  std::uint64_t floats;
  std::uint64_t state_bytes;
};
static_assert(sizeof(Preamble) == 32);

[[noreturn]] void refuse(const std::string& name, std::string_view what) {
  throw Error(ErrorCode::invalid_argument, fmt::format("checkpoint {}: {}", name, what),
              "resume from another checkpoint, or start anew without --resume");
}

[[noreturn]] void fail_system(const std::filesystem::path& path, std::string_view action) {
  const int code = errno;
  throw Error(ErrorCode::system,
              fmt::format("cannot {} {}: {}", action, path.string(), std::generic_category().message(code)),
              "check the folder, its permissions and the free space");
}

std::uint32_t crc(std::string_view bytes) {
  return static_cast<std::uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

/// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
  ~Descriptor() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const noexcept { return descriptor_; }

 private:
  int descriptor_;
};

std::filesystem::path temporary_name(const std::filesystem::path& path) { return path.string() + ".tmp"; }

std::string_view bytes_of(const FloatArena& arena) {
  return {reinterpret_cast<const char*>(arena.data()), arena.size() * sizeof(float)};
}

FloatArena arena_of(std::string_view bytes) {
  FloatArena arena(bytes.size() / sizeof(float));
  if (!bytes.empty()) std::memcpy(arena.data(), bytes.data(), bytes.size());
  return arena;
}

}  // namespace

std::filesystem::path checkpoint_path(const std::string& file, int rank) {
  return fmt::format("{}.{}", file, rank);
}

std::string serialize_checkpoint(const Checkpoint& checkpoint) {
  const nlohmann::json description = {
      {"data", checkpoint.data},         {"widths", checkpoint.widths},
      {"rank", checkpoint.rank},         {"ranks", checkpoint.world_size},
      {"batch", checkpoint.batch},       {"seed", checkpoint.seed},
      {"step", checkpoint.step},         {"seconds", checkpoint.seconds},
      {"loss_sum", checkpoint.loss_sum}, {"loss_samples", checkpoint.loss_samples},
  };
  const std::string json = description.dump();
  Preamble preamble{};
  std::memcpy(preamble.magic.data(), kMagic.data(), kMagic.size());
  preamble.version = kVersion;
  preamble.json_bytes = static_cast<std::uint32_t>(json.size());
  preamble.floats = checkpoint.weights.size();
  preamble.state_bytes = checkpoint.reducer_state.size();
  std::string bytes;
  bytes.reserve(sizeof(Preamble) + json.size() + 2 * preamble.floats * sizeof(float) + preamble.state_bytes +
                4);
  bytes.append(reinterpret_cast<const char*>(&preamble), sizeof(preamble));
  bytes.append(json);
  bytes.append(bytes_of(checkpoint.weights));
  bytes.append(bytes_of(checkpoint.velocity));
  bytes.append(checkpoint.reducer_state);
  const std::uint32_t check = crc(bytes);
  bytes.append(reinterpret_cast<const char*>(&check), sizeof(check));
  return bytes;
}

Checkpoint parse_checkpoint(std::string_view bytes, const std::string& name) {
  Preamble preamble{};
  std::uint32_t check = 0;
  if (bytes.size() < sizeof(preamble) + sizeof(check)) refuse(name, "it is too short to be a checkpoint");
  std::memcpy(&preamble, bytes.data(), sizeof(preamble));
  if (std::string_view(preamble.magic.data(), preamble.magic.size()) != kMagic) {
    refuse(name, "wrong magic, it is not a checkpoint of gradwire train");
  }
  if (preamble.version != kVersion) {
    throw Error(ErrorCode::version_mismatch,
                fmt::format("checkpoint {} has version {}, this program reads version {}", name,
                            preamble.version, kVersion),
                "resume with the program that wrote it");
  }
  const std::uint64_t body = bytes.size() - sizeof(preamble) - sizeof(check);
  const bool fits = preamble.json_bytes <= body && preamble.floats <= body / (2 * sizeof(float)) &&
                    preamble.state_bytes <= body &&
                    preamble.json_bytes + preamble.floats * 2 * sizeof(float) + preamble.state_bytes == body;
  if (!fits)
    refuse(name, fmt::format("its {} bytes are not what its beginning announces; it is truncated or damaged",
                             bytes.size()));
  std::memcpy(&check, bytes.data() + bytes.size() - sizeof(check), sizeof(check));
  if (crc(bytes.substr(0, bytes.size() - sizeof(check))) != check)
    refuse(name, "its checksum is wrong, it is damaged");

  bytes.remove_prefix(sizeof(preamble));
  const auto take = [&bytes](std::size_t count) {
    const std::string_view part = bytes.substr(0, count);
    bytes.remove_prefix(count);
    return part;
  };
  Checkpoint checkpoint;
  try {
    const auto description = nlohmann::json::parse(take(preamble.json_bytes));
    description.at("data").get_to(checkpoint.data);
    description.at("widths").get_to(checkpoint.widths);
    description.at("rank").get_to(checkpoint.rank);
    description.at("ranks").get_to(checkpoint.world_size);
    description.at("batch").get_to(checkpoint.batch);
    description.at("seed").get_to(checkpoint.seed);
    description.at("step").get_to(checkpoint.step);
    description.at("seconds").get_to(checkpoint.seconds);
    description.at("loss_sum").get_to(checkpoint.loss_sum);
    description.at("loss_samples").get_to(checkpoint.loss_samples);
  } catch (const nlohmann::json::exception& error) {
    refuse(name, fmt::format("its description cannot be read ({})", error.what()));
  }
  checkpoint.weights = arena_of(take(preamble.floats * sizeof(float)));
  checkpoint.velocity = arena_of(take(preamble.floats * sizeof(float)));
  checkpoint.reducer_state = take(preamble.state_bytes);
  return checkpoint;
}

void write_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint) {
  const std::string bytes = serialize_checkpoint(checkpoint);
  const auto temporary = temporary_name(path);
  constexpr mode_t kReadableByAll = 0644;
  const Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kReadableByAll));
  if (file.get() < 0) fail_system(temporary, "create");
  std::string_view rest = bytes;
  while (!rest.empty()) {
    const ssize_t written = ::write(file.get(), rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_system(temporary, "write");
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  if (::fsync(file.get()) != 0) fail_system(temporary, "flush");
}

void publish_checkpoint(const std::filesystem::path& path) {
  if (::rename(temporary_name(path).c_str(), path.c_str()) != 0)
    fail_system(path, "rename the new checkpoint to");
  const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  const Descriptor directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0 || ::fsync(directory.get()) != 0) fail_system(folder, "flush the folder");
}

Checkpoint read_checkpoint(const std::filesystem::path& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  std::ifstream file(path, std::ios::binary);
  if (error || !file) {
    throw Error(ErrorCode::system,
                fmt::format("cannot open checkpoint {}: {}", path.string(),
                            error ? error.message() : std::string("it can't be read")),
                "check --resume; each rank reads the file with its rank as suffix");
  }
  std::string bytes(size, '\0');
  if (!file.read(bytes.data(), static_cast<std::streamsize>(size))) fail_system(path, "read");
  return parse_checkpoint(bytes, path.string());
}

void require_same_run(const Checkpoint& checkpoint, const Checkpoint& expected, const std::string& name) {
  const auto require = [&](std::string_view what, const auto& found, const auto& wanted) {
    if (found != wanted)
      refuse(name, fmt::format("it was written with {} {}, this run has {}", what, found, wanted));
  };
  require("the data set", checkpoint.data, expected.data);
  require("the layer widths", joined(checkpoint.widths, "-"), joined(expected.widths, "-"));
  require("a number of ranks of", checkpoint.world_size, expected.world_size);
  require("rank", checkpoint.rank, expected.rank);
  require("a batch of", checkpoint.batch, expected.batch);
  require("the seed", checkpoint.seed, expected.seed);
  require("a parameter count of", checkpoint.weights.size(), expected.weights.size());
}

}  // namespace gradwire::trainer
