#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "collectives/device_nan.hpp"
#include "collectives/schedule.hpp"
#include "collectives/stream_executor.hpp"
#include "compress/cuda/device.hpp"
#include "gradwire/communicator.hpp"
#include "runtime/operation.hpp"
#include "transport/stream_links.hpp"

namespace gradwire::runtime {

/// The tensors of an operation that share a codec.
struct StreamPart {
  collectives::Algorithm algorithm = collectives::Algorithm::ring;  ///< not of one without an executor
  std::size_t payload_bytes = 0;                                    ///< of all its tensors, encoded once
  /// Nothing: an allreduce of plain tensors, which the links do by themselves.
  std::optional<collectives::StreamExecutor> executor;
  std::vector<std::uint32_t> tensors;
  std::vector<collectives::Buffer> buffers;  ///< one per entry of `tensors`
  std::vector<collectives::Buffer> ran;      ///< those of the last run
};

/// A collective bound to tensors on a device, to be put on a stream any number of times. Whoever calls it has
/// made its device the current one. Not thread-safe.
class StreamOperation {
 public:
  /// `place` is that of the links, which outlive it. Throws Error(invalid_argument, unsupported) as
  /// build_operation() does, and for tensors that are not on the links' device.
  StreamOperation(collectives::Collective collective, std::span<const OperationTensor> tensors,
                  const OperationOptions& options, const Place& place, const std::string& codec_override,
                  transport::StreamLinks& links);

  /// Puts one run on the caller's stream. Throws what the links and CUDA do.
  void enqueue();
  /// Whether something of the last run, which enqueue() threw out of, may be on the stream.
  [[nodiscard]] bool has_begun() const noexcept { return has_begun_; }
  /// The last run that was put on the stream has come to its end, and with it all before.
  [[nodiscard]] bool ended() const { return ended_.reached(); }
  /// After ended(): whether a run met something that is not finite since void_results().
  /// Only lossy codecs look.
  [[nodiscard]] bool non_finite() const noexcept { return flag_.raised(); }
  /// Puts on the stream what follows from that: tensors become NaN, and what the last run made of residuals
  /// what they were before it. It has ended when ended() says so.
  void void_results();

  void swap_residuals();

  [[nodiscard]] collectives::Collective collective() const noexcept { return collective_; }
  [[nodiscard]] const std::string& description() const noexcept { return description_; }
  [[nodiscard]] const std::vector<StreamPart>& parts() const noexcept { return parts_; }
  [[nodiscard]] std::size_t tensor_count() const noexcept { return tensors_.size(); }
  [[nodiscard]] OnNonFinite on_non_finite() const noexcept { return on_non_finite_; }
  [[nodiscard]] const compress::Event& event() const noexcept { return ended_; }

 private:
  void bind();
  void add_part(CodecGroup group, collectives::Collective collective, const OperationOptions& options,
                const Place& place);
  void put(StreamPart& part);
  void reduce_plainly(const StreamPart& part);
  void end();

  transport::StreamLinks& links_;
  collectives::Collective collective_;
  std::string description_;
  OnNonFinite on_non_finite_;
  bool average_;
  compress::Stream stream_;
  std::vector<OperationTensor> tensors_;
  std::vector<StreamPart> parts_;
  compress::NonFiniteFlag flag_;
  collectives::DeviceNan nan_;
  compress::Event ended_;
  bool has_begun_ = false;
};

}  // namespace gradwire::runtime
