#include "trainer/checkpoint.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "base/unique_fd.hpp"
#include "gradwire/error.hpp"
#include "trainer/joined.hpp"

namespace gradwire::trainer {

static_assert(std::endian::native == std::endian::little, "checkpoints are written as they lie in memory");

namespace {

constexpr std::string_view kMagic = "GWTRAIN\n";
constexpr std::uint32_t kVersion = 1;
constexpr std::uint64_t kMostJsonBytes = std::uint64_t{1} << 20U;

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

std::string_view bytes_of(const FloatArena& arena) {
  return {reinterpret_cast<const char*>(arena.data()), arena.size() * sizeof(float)};
}

std::uint32_t crc(std::uint32_t so_far, const void* bytes, std::size_t count) {
  if (count == 0) return so_far;  // zlib starts anew when it is given a null pointer
  return static_cast<std::uint32_t>(crc32_z(so_far, static_cast<const Bytef*>(bytes), count));
}

nlohmann::json describe(const Checkpoint& checkpoint) {
  return {
      {"data", checkpoint.data},         {"widths", checkpoint.widths},
      {"rank", checkpoint.rank},         {"ranks", checkpoint.world_size},
      {"batch", checkpoint.batch},       {"seed", checkpoint.seed},
      {"step", checkpoint.step},         {"seconds", checkpoint.seconds},
      {"loss_sum", checkpoint.loss_sum}, {"loss_samples", checkpoint.loss_samples},
  };
}

/// Numbers with a fraction or an exponent may be larger than what an integer can be made of.
bool has_integers(const nlohmann::json& description) {
  constexpr std::array kIntegers{"rank", "ranks", "batch", "seed", "step", "loss_samples"};
  const auto is_integer = [](const nlohmann::json& value) { return value.is_number_integer(); };
  return std::ranges::all_of(kIntegers, [&](const char* key) { return is_integer(description.at(key)); }) &&
         std::ranges::all_of(description.at("widths"), is_integer);
}

/// Reads a checkpoint piece by piece, so that its description can be judged before memory is taken for the
/// rest.
class CheckpointReader {
 public:
  /// Fetches the next `count` of the `size` bytes; throws when it can't.
  using Fetch = std::function<void(void* to, std::size_t count)>;

  CheckpointReader(std::uint64_t size, std::string name, Fetch fetch)
      : size_(size), name_(std::move(name)), fetch_(std::move(fetch)) {}

  /// All but the arenas and the reducer state, which it leaves empty.
  Checkpoint read_description();
  void read_rest(Checkpoint& checkpoint);

  [[nodiscard]] std::uint64_t floats() const noexcept { return preamble_.floats; }
  [[nodiscard]] std::uint64_t state_bytes() const noexcept { return preamble_.state_bytes; }

 private:
  void take(void* to, std::size_t count) {
    fetch_(to, count);
    crc_ = crc(crc_, to, count);
  }
  void read_preamble();

  std::uint64_t size_;
  std::string name_;
  Fetch fetch_;
  Preamble preamble_{};
  std::uint32_t crc_ = 0;
};

void CheckpointReader::read_preamble() {
  if (size_ < sizeof(preamble_) + sizeof(crc_)) refuse(name_, "it is too short to be a checkpoint");
  take(&preamble_, sizeof(preamble_));
  if (std::string_view(preamble_.magic.data(), preamble_.magic.size()) != kMagic) {
    refuse(name_, "wrong magic, it is not a checkpoint of gradwire train");
  }
  if (preamble_.version != kVersion) {
    throw Error(ErrorCode::version_mismatch,
                fmt::format("checkpoint {} has version {}, this program reads version {}", name_,
                            preamble_.version, kVersion),
                "resume with the program that wrote it");
  }
  const std::uint64_t body = size_ - sizeof(preamble_) - sizeof(crc_);
  const bool fits =
      preamble_.json_bytes <= std::min<std::uint64_t>(body, kMostJsonBytes) &&
      preamble_.floats <= body / (2 * sizeof(float)) && preamble_.state_bytes <= body &&
      preamble_.json_bytes + preamble_.floats * 2 * sizeof(float) + preamble_.state_bytes == body;
  if (!fits) {
    refuse(name_, fmt::format("its {} bytes are not what its beginning announces; it is truncated or damaged",
                              size_));
  }
}

Checkpoint CheckpointReader::read_description() {
  read_preamble();
  std::string json(preamble_.json_bytes, '\0');
  take(json.data(), json.size());
  Checkpoint checkpoint;
  try {
    const auto description = nlohmann::json::parse(json);
    if (!has_integers(description)) refuse(name_, "its description is not one of a checkpoint");
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
    // A number that its field can't hold would have become another one.
    if (description.dump() != describe(checkpoint).dump())
      refuse(name_, "its description is not one of a checkpoint");
  } catch (const nlohmann::json::exception& error) {
    refuse(name_, fmt::format("its description cannot be read ({}), it is damaged", error.what()));
  }
  return checkpoint;
}

void CheckpointReader::read_rest(Checkpoint& checkpoint) {
  for (FloatArena* const arena : {&checkpoint.weights, &checkpoint.velocity}) {
    arena->resize(preamble_.floats);
    take(arena->data(), arena->size() * sizeof(float));
  }
  checkpoint.reducer_state.resize(preamble_.state_bytes);
  take(checkpoint.reducer_state.data(), checkpoint.reducer_state.size());
  std::uint32_t check = 0;
  fetch_(&check, sizeof(check));
  if (check != crc_) refuse(name_, "its checksum is wrong, it is damaged");
}

}  // namespace

std::filesystem::path checkpoint_path(const std::string& file, int rank) {
  return fmt::format("{}.{}", file, rank);
}

std::filesystem::path unpublished_path(const std::filesystem::path& path) { return path.string() + ".tmp"; }

std::string serialize_checkpoint(const Checkpoint& checkpoint) {
  const std::string json = describe(checkpoint).dump();
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
  const std::uint32_t check = crc(0, bytes.data(), bytes.size());
  bytes.append(reinterpret_cast<const char*>(&check), sizeof(check));
  return bytes;
}

Checkpoint parse_checkpoint(std::string_view bytes, const std::string& name) {
  CheckpointReader reader(bytes.size(), name, [&bytes](void* to, std::size_t count) {
    // Its sizes were compared with those announced.
    if (count != 0) std::memcpy(to, bytes.data(), count);
    bytes.remove_prefix(count);
  });
  Checkpoint checkpoint = reader.read_description();
  reader.read_rest(checkpoint);
  return checkpoint;
}

void write_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint) {
  const std::string bytes = serialize_checkpoint(checkpoint);
  const auto temporary = unpublished_path(path);
  constexpr mode_t kReadableByAll = 0644;
  const base::UniqueFd file(
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kReadableByAll));
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
  if (::rename(unpublished_path(path).c_str(), path.c_str()) != 0)
    fail_system(path, "rename the new checkpoint to");
  const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  const base::UniqueFd directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0 || ::fsync(directory.get()) != 0) fail_system(folder, "flush the folder");
}

Checkpoint read_checkpoint(const std::filesystem::path& path, const Checkpoint& expected,
                           std::uint64_t most_state_bytes) {
  const std::string name = path.string();
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  std::ifstream file;
  if (!error) file.open(path, std::ios::binary);
  if (!file.is_open()) {
    throw Error(ErrorCode::system,
                fmt::format("cannot open checkpoint {}: {}", name,
                            error ? error.message() : std::string("it can't be read")),
                "check --resume; each rank reads the file with its rank as suffix");
  }
  CheckpointReader reader(size, name, [&](void* to, std::size_t count) {
    if (!file.read(static_cast<char*>(to), static_cast<std::streamsize>(count)))
      refuse(name, "reading it ended early");
  });
  Checkpoint checkpoint = reader.read_description();
  require_same_run(checkpoint, expected, name);
  if (reader.floats() != expected.weights.size()) {
    refuse(name, fmt::format("it holds {} parameters, this run's model has {}", reader.floats(),
                             expected.weights.size()));
  }
  if (reader.state_bytes() > most_state_bytes) {
    refuse(name, fmt::format("it holds {} bytes of residuals, this run's model has at most {}",
                             reader.state_bytes(), most_state_bytes));
  }
  reader.read_rest(checkpoint);
  return checkpoint;
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
}

}  // namespace gradwire::trainer
