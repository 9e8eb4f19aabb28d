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
/// frames are the caller's and, at Stage::local, plain float32. Every function that tells whether all was
/// finite looks only where the codec is lossy, and is true otherwise.
class CellArithmetic {
 public:
  /// `layered`: received frames are results and not partial sums, even where they are added.
  CellArithmetic(bool average, int ranks, bool layered, Layout layout,
                 std::shared_ptr<const compress::Codec> codec);

  /// One buffer per tensor of the layout, valid as long as anything below is called.
  void lend(std::span<const Buffer> buffers) noexcept { buffers_ = buffers; }

  [[nodiscard]] const Layout& layout() const noexcept { return layout_; }
  [[nodiscard]] const compress::Codec& codec() const noexcept { return *codec_; }
  /// That of a stage's frames.
  [[nodiscard]] const compress::Codec& codec(Stage stage) const noexcept {
    return stage == Stage::local ? *plain_ : *codec_;
  }
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
  /// add() of a partial sum, then encode() at a stage that is not local, without storing the sum.
  compress::Encoded add_then_encode(const Segment& segment, std::span<const std::byte> payload, Stage stage,
                                    std::byte* frame) const;
  void add(const Segment& segment, std::span<const std::byte> payload, Stage stage) const;
  void assign(const Segment& segment, std::span<const std::byte> payload) const;
  /// The running sum plus residual becomes the result. False when one of its elements is not finite.
  [[nodiscard]] bool finish(const Segment& segment) const;

 private:
  [[nodiscard]] float scale(Stage stage) const noexcept;
  [[nodiscard]] float add_factor(Stage stage) const noexcept { return layered_ ? 1.0F : 1.0F / scale(stage); }
  [[nodiscard]] compress::Encode sum_of(const Piece& piece, Stage stage) const noexcept;
  compress::Encoded encode_plain(const compress::Encode& sum, std::byte* frame) const;
  template <typename Visit>
  void split(const Segment& segment, std::span<const std::byte> payload, Stage stage, Visit visit) const;

  bool average_;
  int ranks_;
  bool layered_;
  Layout layout_;
  std::shared_ptr<const compress::Codec> codec_;
  std::shared_ptr<const compress::Codec> plain_;  ///< inside a host
  std::span<const Buffer> buffers_;
};

}  // namespace gradwire::collectives
