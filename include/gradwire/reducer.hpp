#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gradwire/communicator.hpp"
#include "gradwire/export.hpp"
#include "gradwire/tensor.hpp"

namespace gradwire {

/// A gradient that a Reducer keeps averaging. The buffer is bound for the Reducer's life.
struct NamedTensor {
  std::string name{};  ///< unique; residuals are kept under it
  Tensor tensor{};
  /// For a tensor on a CUDA device, the cudaStream_t of that device that writes it; null: its default stream.
  /// What is on this stream at ready() comes before the exchange, and may still be under way then.
  CUstream_st* stream = nullptr;
};

struct ReducerOptions {
  std::string codec = "none";
  std::string algorithm = "auto";
  bool average = true;
  std::size_t bucket_bytes =
      25U << 20U;                ///< tensors reduced together; a larger tensor is a bucket of its own
  std::size_t raw_below = 1024;  ///< tensors of fewer elements go uncompressed in the same bucket
  bool error_feedback = true;    ///< false drops what encoding loses: for experiments only, training suffers
  bool overlap = true;           ///< a progress thread moves buckets while the caller computes
  /// Keeps the residuals of the last finished step beside the next ones, so that a failed step leaves them
  /// whole.
  bool transactional = true;
  OnNonFinite on_non_finite = OnNonFinite::error;
};

/// What one call of metrics() tells, since the last call of reset_metrics().
struct ReducerMetrics {
  std::uint64_t steps = 0;
  std::map<std::string, std::uint64_t> wire_bytes;  ///< by codec, sent from this rank
  double residual_over_gradient = 0;  ///< |residual| / |gradient|, this rank, last measured step
  double result_over_mean = 0;        ///< |result| / |mean|: the norm of what came out over that of an
                                      ///< uncompressed exchange, last measured step
  double exposed_seconds = 0;         ///< time spent inside wait()
};

/// Averages a model's gradients over all ranks, step after step, with error feedback (Seide et al. 2014; why
/// it converges: S. P. Karimireddy et al., "Error Feedback Fixes SignSGD and other Gradient Compression
/// Schemes", ICML 2019).
/// Construct it with the same names, in the same order, sizes and options on every rank: a difference is an
/// order_mismatch on all of them. ready() and wait() are for one thread at a time. Destroying it in the
/// middle of a step aborts the communicator: nothing else gives the buffers back.
/// Gradients may be on CUDA devices, on some ranks or on all, and residuals are where their gradients are. A
/// bucket is on one device and one stream: where gradients change either, the next bucket begins, so they
/// have to change it at the same places on every rank.
class GRADWIRE_EXPORT Reducer {
 public:
  /// `tensors` in the order in which gradients are produced in the backward pass if that is known.
  /// Throws Error(invalid_argument) for duplicate names, unknown codecs, memory that is missing or not on its
  /// device, or another device's stream; Error(unsupported) for a device in a build without CUDA.
  Reducer(Communicator communicator, std::vector<NamedTensor> tensors, const ReducerOptions& options = {});
  ~Reducer();
  Reducer(Reducer&&) noexcept;
  Reducer& operator=(Reducer&&) noexcept;

  /// Gradient `index` is complete; its buffer is lent until wait() returns. A bucket leaves when all its
  /// tensors are ready and all earlier buckets have left, so ranks may call ready() in any order. Throws
  /// Error(invalid_argument) when its memory is not on its device any more. When a bucket cannot leave, for
  /// this or another reason of this rank's own, the communicator is aborted: the others would wait for it.
  void ready(int index);
  /// Marks whatever was not ready, and returns when every gradient is the mean (or sum) over ranks. Throws as
  /// ready() does, and aborts the communicator then; after Error(non_finite) it serves on.
  void wait();

  /// Changes the codec from the next step on (a warm start, say). Residuals are kept; they wait while the
  /// codec is "none". When it throws, for a codec that is unknown or memory that is short, nothing has
  /// changed; the old plans are dropped only once the new ones are made.
  void set_codec(const std::string& codec);

  /// Residuals and step count of this rank: loading it on the same rank of the same world resumes bit for
  /// bit.
  [[nodiscard]] std::string save_state() const;
  /// Collective. The residuals of all ranks summed into one state, the same on every rank; loading it works
  /// in any world size.
  [[nodiscard]] std::string save_collapsed_state();
  /// Takes either kind. Throws Error(invalid_argument) for bytes that are not a state, a state of other
  /// tensors, or another rank's, and where a tensor has a residual that goes raw here (`raw_below`).
  void load_state(const std::string& state);
  /// After the world size changed under averaging, or the loss scale: residuals times `factor`.
  void rescale_residuals(float factor);

  /// Residual of one tensor as of the last finished step, float32, as many as it has elements; empty when it
  /// has none. It is on the tensor's device. Valid until the next ready(), wait(), set_codec() or
  /// load_state().
  [[nodiscard]] std::span<const float> residual(const std::string& name) const;
  [[nodiscard]] std::uint64_t step() const noexcept;

  /// Collective: all ranks call it before the same step. That step also exchanges the gradients without a
  /// codec, to compare: it takes as long as one with codec "none".
  void measure_next_step();
  [[nodiscard]] ReducerMetrics metrics() const;
  void reset_metrics();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gradwire
