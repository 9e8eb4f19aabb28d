#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "collectives/host_executor.hpp"
#include "collectives/schedule.hpp"
#include "compress/cuda/device.hpp"
#include "gradwire/communicator.hpp"
#include "runtime/placed_floats.hpp"

namespace gradwire::runtime {

/// The tensors of an operation that share a codec, with a schedule of their own.
struct Part {
  collectives::Algorithm algorithm;
  collectives::HostExecutor executor;
  std::vector<std::uint32_t> tensors;        ///< indices into Operation::tensors
  std::vector<collectives::Buffer> buffers;  ///< one per entry of `tensors`
  std::uint32_t chunk_base = 0;              ///< numbers the chunks of an operation's parts apart
};

/// A collective bound to tensors. Built once, run any number of times; running it allocates nothing.
/// The engine owns the fields under "run state".
struct Operation {
  collectives::Collective collective = collectives::Collective::allreduce;
  OnNonFinite on_non_finite = OnNonFinite::error;
  std::string description;  ///< everything that ranks must agree on, readable: what the order hash covers
  std::uint32_t tag = 0;
  std::uint64_t fingerprint = 0;  ///< of the description and the tag
  std::vector<OperationTensor> tensors;
  std::vector<Part> parts;
  std::uint64_t wire_bytes = 0;            ///< sent by one run, headers included
  std::vector<PlacedFloats> scratch;       ///< float32 sums of 16-bit tensors, where these are
  Device device;                           ///< of all tensors
  std::shared_ptr<compress::Event> ready;  ///< on a device: what a run begins after
  compress::Stream stream = nullptr;       ///< the caller's

  // Run state.
  std::uint32_t number = 0;      ///< sequence number in the communicator
  std::uint64_t order_hash = 0;  ///< of the communicator, including this run
  std::atomic<std::uint64_t> submitted{0};
  std::atomic<std::uint64_t> completed{0};
  std::atomic<bool> non_finite{false};
  bool settled = false;  ///< what a NaN or infinity means for tensors and residuals has been seen to

  [[nodiscard]] bool running() const noexcept { return submitted.load() != completed.load(); }
  /// By the thread that submits it, before start(): notes how far the caller's stream has come.
  void note_stream() const;
  /// Begins all parts.
  void start(wire::Header prototype);
  /// Whether all of it is done: every part, and what follows from a NaN or infinity on the way.
  [[nodiscard]] bool finish();
  /// Whether, since this was last asked, a part has put something off until its device has come further.
  [[nodiscard]] bool awaits_device() noexcept;
  /// Gives the buffers back before the end.
  void abandon() noexcept;
  void set_tag(std::uint32_t new_tag) noexcept;
  /// For messages.
  [[nodiscard]] std::string name() const;
  /// Points the parts at `replacement`'s memory, which has passed check_place(); shapes and device must be
  /// those it was built with.
  void bind(std::span<const OperationTensor> replacement);
};

/// `codec_override` replaces every codec but "none" when it is not empty.
const std::string& codec_in_use(const std::string& asked, const std::string& codec_override) noexcept;

/// Tensors that share a codec.
struct CodecGroup {
  std::string codec;
  std::vector<std::uint32_t> tensors;
};
/// They travel together, in the order in which the codecs first appear.
std::vector<CodecGroup> group_by_codec(std::span<const OperationTensor> tensors,
                                       const OperationOptions& options, const std::string& codec_override);

/// A tensor as executors see it, but for where a 16-bit one is summed.
collectives::Buffer bind_buffer(const OperationTensor& tensor);

/// The elements of one tensor of a layout that are in the chunk of a rank: [begin, end).
std::pair<std::size_t, std::size_t> owned_range(const collectives::Layout& layout, int rank,
                                                std::uint32_t tensor);

/// Throws Error(invalid_argument).
void check_root(int root, int ranks);

/// A rank among the others; hosts as in collectives::Topology.
struct Place {
  int rank = 0;
  int ranks = 1;
  std::span<const int> hosts;
};

/// Where all tensors are, residuals included. Throws Error(invalid_argument) when that is not one place, or
/// memory is missing or not where it should be, Error(unsupported) where no kernel can run.
Device check_place(std::span<const OperationTensor> tensors);

/// Throws Error(invalid_argument, unsupported).
std::shared_ptr<Operation> build_operation(collectives::Collective collective,
                                           std::span<const OperationTensor> tensors,
                                           const OperationOptions& options, const Place& place,
                                           const std::string& codec_override);

/// What ranks must agree on but for the tag, as one line; equal lines can share an Operation after bind().
std::string describe_operation(collectives::Collective collective, std::span<const OperationTensor> tensors,
                               const OperationOptions& options, std::span<const int> hosts,
                               const std::string& codec_override);

/// Mixes the fingerprint of the next operation into a communicator's order hash.
std::uint64_t chain_hash(std::uint64_t order_hash, std::uint64_t fingerprint) noexcept;

}  // namespace gradwire::runtime
