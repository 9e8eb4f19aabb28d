#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "gradwire/error.hpp"
#include "gradwire/export.hpp"
#include "gradwire/store.hpp"
#include "gradwire/tensor.hpp"
#include "gradwire/work.hpp"

// What cuda_runtime.h calls cudaStream_t.
struct CUstream_st;  // NOLINT(readability-identifier-naming)

namespace gradwire {

namespace runtime {
class Engine;
struct Operation;
}  // namespace runtime
namespace collectives {
enum class Collective;
}
namespace transport {
class MpiGroup;
}

enum class OnNonFinite {
  error,      ///< a NaN or infinity in a lossy operation ends it with non_finite: on every rank, but for
              ///< reduce_scatter, on those that saw it
  propagate,  ///< the operation succeeds and its result is NaN everywhere (what loss scaling needs)
};

/// How to find the other ranks. Every field left alone is taken from the environment by from_environment().
struct CommunicatorOptions {
  int rank = 0;
  int world_size = 1;
  std::string job = "default";     ///< ranks of one job find each other; others are refused
  std::uint32_t id = 0;            ///< tells the communicators of one job apart: the same on all its ranks
  std::shared_ptr<Store> store{};  ///< handed in, or null: opened from `store_url`
  std::string store_url{};  ///< see open_store(); may be empty only when world_size is 1, or with `mpi`
  /// "auto" (shm for local ranks, mpi or tcp for others), "shm", "tcp", "inproc"; "mpi" and "ucx" where the
  /// build has them.
  std::string transport = "auto";
  /// What connects the ranks where MPI has started them: what mpi.hpp, and from_environment() under mpirun,
  /// put here. "auto" is then MPI between hosts, and without a store the ranks meet by MPI.
  std::shared_ptr<transport::MpiGroup> mpi{};
  /// For tcp: a network interface ("eth0") or address; empty: the one that routes to the store,
  /// or the default route's where the store has no address (file://, or handed in without a URL).
  std::string interface {};
  int connections_per_peer = 1;  ///< tcp
  /// "100mbit": every rank becomes a host behind a link of that rate, each way; empty: off.
  std::string link_rate{};
  std::chrono::milliseconds timeout{
      300'000};                ///< time without progress before an operation ends with timeout
  std::string host_id{};       ///< ranks with equal ids share a host; empty: found out
  std::string codec{};         ///< when not empty, what operations use that ask for another codec than "none"
  bool check_payload = false;  ///< checksums over shared memory too (tcp always has them)
  /// Operations advance without anybody waiting (a Reducer with overlap switches it on).
  bool progress_thread = false;
};

/// The store that a communicator with these options would open, for those who need it before. Every rank
/// calls it, at the same time if the URL is mpi://. Throws what open_store() of the URL throws.
GRADWIRE_EXPORT std::shared_ptr<Store> open_store(const CommunicatorOptions& options);

/// What one operation does with its tensors.
struct OperationOptions {
  std::string codec = "none";  ///< "none", "fp16", "bf16", "onebit", "onebit:block=256,scale=l2"
  /// "ring", "two-shot", "tree", "halving-doubling", "one-shot"; "hierarchical:ring" and so on (not
  /// one-shot), or "hierarchical", which chooses one of those.
  std::string algorithm = "auto";
  bool average = false;  ///< divide the sum by the world size
  OnNonFinite on_non_finite = OnNonFinite::error;
  int root = 0;           ///< broadcast
  std::uint32_t tag = 0;  ///< any number; ranks whose tags differ for an operation get order_mismatch
  /// For tensors on a CUDA device, a cudaStream_t of that device; null: its default stream. A run begins
  /// after what is on this stream when it is submitted, so whatever writes the tensors may still be under way
  /// then. It ends, like any other, with its Work: whoever has waited for that need not synchronise anything.
  CUstream_st* stream = nullptr;
};

/// A tensor of an operation, with its residual, which is where the tensor is: error feedback adds what
/// earlier encodings lost before it encodes (F. Seide et al., "1-Bit Stochastic Gradient Descent and its
/// Application to Data-Parallel Distributed Training of Speech DNNs", Interspeech 2014).
struct OperationTensor {
  Tensor tensor{};
  /// Error feedback, `tensor.count` float32 or empty (no feedback), in units of the sum over ranks. Read, and
  /// replaced by the new residual: in place, or into `next_residual` when that is not empty. Then `residual`
  /// survives a failure, and after a NaN or infinity `next_residual` equals it; in place, only the blocks
  /// that held the NaN keep their residual.
  std::span<float> residual{};
  std::span<float> next_residual{};
  /// Overrides OperationOptions::codec for this tensor; "none" sends a small tensor raw.
  std::string codec{};
};

/// An operation bound to its buffers, made once and run many times. Running it allocates nothing.
/// Its buffers stay lent from run() or start() until the Work completes. Thread-safe like its communicator;
/// one run at a time.
class GRADWIRE_EXPORT Plan {
 public:
  Plan() = default;

  /// start() and wait.
  void run();
  /// Submits; every rank must submit the same operations in the same order.
  [[nodiscard]] Work start();

  /// Bytes of frames (headers included) that one run sends from this rank.
  [[nodiscard]] std::uint64_t wire_bytes() const;
  /// Of these, bytes to ranks on the same host.
  [[nodiscard]] std::uint64_t wire_bytes_inside() const;
  /// wire_bytes() by codec.
  [[nodiscard]] std::map<std::string, std::uint64_t> wire_bytes_by_codec() const;
  /// The algorithm in use, "auto" resolved; that of the largest part when tensors use different codecs.
  [[nodiscard]] std::string algorithm() const;
  /// reduce_scatter, allgather: [begin, end) of this rank's part in tensor `index`, in elements. It follows
  /// from the sizes, the codec and the algorithm: a reduce_scatter and the allgather that belongs to it take
  /// the same ones.
  [[nodiscard]] std::pair<std::size_t, std::size_t> owned(std::size_t index) const;
  /// After a completed run: whether a NaN or infinity was seen (only lossy codecs look): on any rank, but for
  /// reduce_scatter, where each rank knows of its own part and of what it sent.
  [[nodiscard]] bool non_finite() const;
  /// Exchanges the roles of residual and next_residual of every tensor: what a step that ended well does. Not
  /// while it runs.
  void swap_residuals();

 private:
  friend class Communicator;
  Plan(std::shared_ptr<runtime::Engine> engine, std::shared_ptr<runtime::Operation> operation) noexcept;
  [[nodiscard]] runtime::Operation& operation() const;
  std::shared_ptr<runtime::Engine> engine_;
  std::shared_ptr<runtime::Operation> operation_;
};

/// Counters since the communicator was made.
struct Traffic {
  std::uint64_t wire_bytes_sent = 0;  ///< headers and payloads
  std::uint64_t operations = 0;       ///< completed
  double exposed_seconds = 0;         ///< time callers spent inside wait()
};

/// One rank's membership in a group of ranks. Several may exist in one process. Operations throw what
/// docs/errors.md lists; bad arguments before anything was sent.
/// Any thread may submit, one at a time; wait from any thread makes progress. After an Error other than
/// invalid_argument, unsupported or non_finite the communicator is unusable and every operation throws the
/// same error until it is rebuilt. Copies refer to the same communicator, and so do its plans and works; the
/// last of them to go says goodbye to the peers, which may take seconds if one hangs.
class GRADWIRE_EXPORT Communicator {
 public:
  /// A communicator of one rank.
  Communicator();
  /// Throws Error: timeout (naming the missing ranks), invalid_argument, version_mismatch, system.
  explicit Communicator(const CommunicatorOptions& options);

  /// What torchrun, mpirun, srun or `gradwire run` left in the environment; alone without any of them.
  static Communicator from_environment();
  /// The options that from_environment() would use, to be changed before use.
  static CommunicatorOptions options_from_environment();

  [[nodiscard]] int rank() const noexcept;
  [[nodiscard]] int world_size() const noexcept;

  /// Sums (or averages) `tensor` over all ranks, in place, the same bits on every rank. `residual` as in
  /// OperationTensor.
  void allreduce(Tensor tensor, const OperationOptions& options = {}, std::span<float> residual = {});
  [[nodiscard]] Work allreduce_async(Tensor tensor, const OperationOptions& options = {},
                                     std::span<float> residual = {});

  /// The sum over ranks; rank r's result is its owned range (see Plan::owned), the rest is unspecified.
  /// Returns that range.
  std::pair<std::size_t, std::size_t> reduce_scatter(Tensor tensor, const OperationOptions& options = {},
                                                     std::span<float> residual = {});
  /// Every rank's owned range reaches all ranks.
  void allgather(Tensor tensor, const OperationOptions& options = {}, std::span<float> residual = {});
  /// options.root's tensor reaches all ranks.
  void broadcast(Tensor tensor, const OperationOptions& options = {}, std::span<float> residual = {});
  /// Returns when all ranks have called it.
  void barrier();

  /// Plans: the hot path. The tensors' buffers are bound.
  Plan plan_allreduce(std::span<const OperationTensor> tensors, const OperationOptions& options = {});
  Plan plan_reduce_scatter(std::span<const OperationTensor> tensors, const OperationOptions& options = {});
  Plan plan_allgather(std::span<const OperationTensor> tensors, const OperationOptions& options = {});
  Plan plan_broadcast(std::span<const OperationTensor> tensors, const OperationOptions& options = {});

  /// Collective: a communicator of all ranks that gave the same color (0 to 2^24 - 1), in the order of their
  /// ranks here. With a link rate it is another link: what both carry at a time is not added up.
  [[nodiscard]] Communicator split(int color);

  [[nodiscard]] Traffic traffic() const;
  /// The codec that an operation asking for `codec` uses here: CommunicatorOptions::codec may replace it.
  [[nodiscard]] std::string codec_in_use(const std::string& codec) const;
  /// [rank]: the number of its host, numbers from 0 in the order of the hosts' first ranks. With a link rate
  /// every rank is a host.
  [[nodiscard]] std::vector<int> hosts() const;
  /// "shm", "tcp", "mpi", "ucx", "inproc" for a peer.
  [[nodiscard]] std::string transport_to(int peer) const;
  /// Gives the communicator up on all ranks: operations in flight end here and with peer_lost, naming this
  /// rank, elsewhere. Buffers are no longer lent when it returns.
  void abort() noexcept;
  /// Switches the background progress thread on. Throws Error(unsupported) where MPI lets only one thread at
  /// a time call it.
  void start_progress_thread();

 private:
  friend class NcclCommunicator;
  Plan make_plan(collectives::Collective collective, std::span<const OperationTensor> tensors,
                 const OperationOptions& options);

  std::shared_ptr<runtime::Engine> engine_;
};

}  // namespace gradwire
