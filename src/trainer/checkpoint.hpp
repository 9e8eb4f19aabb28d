#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/float_arena.hpp"

namespace gradwire::trainer {

/// All that one rank needs to go on as if nothing had happened. The shuffle is a function of seed and step.
struct Checkpoint {
  std::string data;
  std::vector<int> widths;
  int rank = 0;
  int world_size = 1;
  std::uint64_t batch = 0;
  std::uint64_t seed = 0;
  std::uint64_t step = 0;
  double seconds = 0;   ///< of training so far
  double loss_sum = 0;  ///< over the samples of the unfinished epoch
  std::uint64_t loss_samples = 0;
  FloatArena weights;  ///< in the arena's layout
  FloatArena velocity;
  std::string reducer_state;  ///< this rank's residuals
};

/// "model.ckpt" and 2 -> "model.ckpt.2": one file per rank, as residuals differ.
std::filesystem::path checkpoint_path(const std::string& file, int rank);

/// Where a checkpoint is written before it gets its name: `path` + ".tmp".
std::filesystem::path unpublished_path(const std::filesystem::path& path);

/// Writes unpublished_path() and flushes it to the disk; publish_checkpoint() gives it its name. In between,
/// the ranks can make sure that all of them got that far. Throws Error(system).
void write_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint);
void publish_checkpoint(const std::filesystem::path& path);

/// The checkpoint of the run that `expected` identifies. Memory is taken only once the sizes that the file
/// announces are its own, those of `expected`'s arenas, and no more than `most_state_bytes` of reducer state.
/// Throws Error: system when the file can't be read, invalid_argument when it is truncated, damaged, no
/// checkpoint or that of another run (see require_same_run()), version_mismatch when another version wrote
/// it.
Checkpoint read_checkpoint(const std::filesystem::path& path, const Checkpoint& expected,
                           std::uint64_t most_state_bytes);

/// The file's bytes, and back. The layout (all numbers little-endian): magic "GWTRAIN\n", version u32, bytes
/// of JSON u32, floats in an arena u64, bytes of reducer state u64, JSON, weights, momentum, reducer state,
/// CRC-32 of all before it u32.
std::string serialize_checkpoint(const Checkpoint& checkpoint);
Checkpoint parse_checkpoint(std::string_view bytes, const std::string& name);

/// Throws Error(invalid_argument) that names the first difference, when `checkpoint` belongs to another run
/// than `expected` (its identity: data, widths, ranks, batch, seed).
void require_same_run(const Checkpoint& checkpoint, const Checkpoint& expected, const std::string& name);

}  // namespace gradwire::trainer
