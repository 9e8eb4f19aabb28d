#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "collectives/layout.hpp"
#include "collectives/schedule.hpp"
#include "compress/codec.hpp"
#include "gradwire/tensor.hpp"

namespace gradwire::collectives {

/// A tensor as the executor sees it. For float32 `work` is the tensor itself, otherwise float32 scratch.
struct Buffer {
  Tensor tensor;
  float* work = nullptr;
  const float* residual = nullptr;  ///< null: no feedback
  float* next_residual = nullptr;   ///< equal to `residual`: in place
};

/// What a rank computes on the pieces of one segment: the running sum and the residual lie in the buffers,
/// frames are the caller's. Every function that tells whether all was finite looks only where the codec is
/// lossy, and is true otherwise.
class CellArithmetic {
 public:
  /// `layered`: received frames are results and not partial sums, even where they are added.
  CellArithmetic(bool average, int ranks, bool layered, Layout layout,
                 std::shared_ptr<const compress::Codec> codec);

  /// One buffer per tensor of the layout, valid as long as anything below is called.
  void lend(std::span<const Buffer> buffers) noexcept { buffers_ = buffers; }

  [[nodiscard]] const Layout& layout() const noexcept { return layout_; }
  [[nodiscard]] const compress::Codec& codec() const noexcept { return *codec_; }
  [[nodiscard]] std::span<const Piece> pieces(const Segment& segment) const noexcept;
  [[nodiscard]] DType dtype(const Segment& segment) const noexcept;
  /// The memory of a segment of one piece, as a frame of an identity codec.
  [[nodiscard]] std::byte* memory(const Segment& segment) const noexcept;

  /// 16-bit elements are summed in float32: widens them, and rounds the result. False when a finite result
  /// does not fit into its 16 bits.
  void load(const Segment& segment) const;
  [[nodiscard]] bool store(const Segment& segment) const;

  /// Running sum plus residual into the frame; it may be memory(segment) for an identity codec.
  compress::Encoded encode(const Segment& segment, Stage stage, std::byte* frame) const;
  /// add(), then encode(), without storing the sum.
  compress::Encoded add_then_encode(const Segment& segment, std::span<const std::byte> payload, Stage stage,
                                    std::byte* frame) const;
  void add(const Segment& segment, std::span<const std::byte> payload) const;
  void assign(const Segment& segment, std::span<const std::byte> payload) const;
  /// The running sum plus residual becomes the result. False when one of its elements is not finite.
  [[nodiscard]] bool finish(const Segment& segment) const;

 private:
  [[nodiscard]] float scale(Stage stage) const noexcept;
  [[nodiscard]] float add_factor() const noexcept { return layered_ ? 1.0F : 1.0F / scale(Stage::partial); }
  [[nodiscard]] compress::Encode sum_of(const Piece& piece, Stage stage) const noexcept;
  template <typename Visit>
  void split(const Segment& segment, std::span<const std::byte> payload, Visit visit) const;

  bool average_;
  int ranks_;
  bool layered_;
  Layout layout_;
  std::shared_ptr<const compress::Codec> codec_;
  std::span<const Buffer> buffers_;
};

}  // namespace gradwire::collectives
