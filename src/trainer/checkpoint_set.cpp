#include "trainer/checkpoint_set.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <span>
#include <system_error>
#include <utility>

#include "gradwire/error.hpp"
#include "trainer/agreement.hpp"

namespace gradwire::trainer {

namespace {

bool is_there(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

/// What replicas have in common.
std::uint64_t fingerprint_of(const Checkpoint& checkpoint) {
  const auto weights = fingerprint(std::as_bytes(std::span(checkpoint.weights)));
  return fingerprint(std::as_bytes(std::span(checkpoint.velocity)), weights + checkpoint.step);
}

}  // namespace

void save_checkpoint_set(Communicator& comm, const std::string& file, const Checkpoint& checkpoint) {
  const auto path = checkpoint_path(file, comm.rank());
  write_checkpoint(path, checkpoint);
  comm.barrier();
  publish_checkpoint(path);
}

Checkpoint load_checkpoint_set(Communicator& comm, const std::string& file, const Checkpoint& expected,
                               std::uint64_t most_state_bytes) {
  const auto path = checkpoint_path(file, comm.rank());
  const auto unpublished = unpublished_path(path);
  const auto read = [&](const auto& from) { return read_checkpoint(from, expected, most_state_bytes); };

  bool publish = !is_there(path) && is_there(unpublished);
  Checkpoint checkpoint = read(publish ? unpublished : path);
  const auto steps = values_of_all_ranks(comm, checkpoint.step);
  const std::uint64_t newest = std::ranges::max(steps);
  if (checkpoint.step != newest && is_there(unpublished)) {
    // Somebody has published the newest, so all had written it.
    try {
      Checkpoint written = read(unpublished);
      if (written.step == newest) {
        checkpoint = std::move(written);
        publish = true;
      }
    } catch (const Error&) {
      // Not what is looked for: the comparison below says so, on all ranks.
    }
  }
  if (!same_on_all_ranks(comm, fingerprint_of(checkpoint))) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("the ranks' checkpoints {}.* are not of the same step", file),
                "resume from files that were written together");
  }
  // Before the next set is written in its place.
  if (publish) publish_checkpoint(path);
  return checkpoint;
}

}  // namespace gradwire::trainer
