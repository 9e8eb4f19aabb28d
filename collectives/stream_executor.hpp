#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "collectives/cell_arithmetic.hpp"
#include "collectives/layout.hpp"
#include "collectives/stream_program.hpp"
#include "compress/cuda/device.hpp"
#include "compress/cuda/device_codec.hpp"
#include "transport/stream_links.hpp"

namespace gradwire::collectives {

/// Puts one rank's program on a CUDA stream: kernels that encode into frames on the device and decode from
/// there, and sends and receives of these frames, in rounds. The results, residuals and payloads are those of
/// the host executor, to the bit. Where it is made the device is current, and memory and kernels are got;
/// after that nothing is allocated, and nothing waits.
class StreamExecutor {
 public:
  /// `links` outlive it.
  StreamExecutor(bool average, StreamProgram program, Layout layout, const compress::Codec& codec,
                 transport::StreamLinks& links);

  /// One run, on float32 tensors of the device, which is current. It may follow another one that has not
  /// ended where the stream is the same, or waits for it. What is not finite raises the flag, when the stream
  /// has come so far. Throws what the links throw, and Error(system, invalid_argument) of CUDA. `has_begun`
  /// becomes true before something of it may be on the stream.
  void enqueue(std::span<const Buffer> buffers, compress::Stream stream, const compress::NonFiniteFlag& flag,
               bool& has_begun);

  [[nodiscard]] const StreamProgram& program() const noexcept { return program_; }
  [[nodiscard]] const Layout& layout() const noexcept { return layout_; }
  [[nodiscard]] const compress::Codec& codec() const noexcept { return kernels_->host(); }

 private:
  struct Run {
    std::span<const Buffer> buffers;
    compress::Stream stream;
    const compress::NonFiniteFlag& flag;
  };

  [[nodiscard]] std::span<const Piece> pieces(const StreamStep& step) const noexcept;
  [[nodiscard]] const compress::DeviceCodec& kernels(Stage stage) const noexcept {
    return stage == Stage::local ? *plain_kernels_ : *kernels_;
  }
  [[nodiscard]] std::byte* payload(const StreamStep& step, const Run& run) const noexcept;
  [[nodiscard]] std::size_t payload_bytes(const StreamStep& step) const noexcept;

  void put_kernels(const StreamStep& step, const Run& run) const;
  void encode(const StreamStep& step, const Run& run) const;
  void put_transfer(const StreamStep& step, const Run& run);

  bool average_;
  StreamProgram program_;
  Layout layout_;
  std::unique_ptr<const compress::DeviceCodec> kernels_;
  std::unique_ptr<const compress::DeviceCodec> plain_kernels_;
  transport::StreamLinks& links_;
  compress::DeviceMemory frames_;
  compress::DeviceMemory words_;  ///< where the words of the frames are, on the device
};

}  // namespace gradwire::collectives
