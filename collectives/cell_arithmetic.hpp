#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "collectives/layout.hpp"
#include "collectives/program.hpp"
#include "collectives/schedule.hpp"
#include "compress/codec.hpp"
#include "gradwire/tensor.hpp"

namespace gradwire::collectives {

/// A tensor as the executor sees it, where the tensor is. For float32 `work` is the tensor itself, otherwise
/// float32 scratch.
struct Buffer {
  Tensor tensor;
  float* work = nullptr;
  const float* residual = nullptr;  ///< null: no feedback
  float* next_residual = nullptr;   ///< equal to `residual`: in place
};

/// What an encoding multiplies a sum with when an operation averages: a result is divided by the number of
/// ranks, and so is every sum in a format of narrow range.
float encoding_scale(bool average, int ranks, Stage stage, const compress::Codec& codec) noexcept;
/// A piece's part of a buffer, as encodings take it.
compress::Encode sum_of(const Buffer& buffer, const Piece& piece, float scale) noexcept;

/// A cell's frame, on the host.
struct CellFrame {
  std::span<const std::byte> payload;
  bool finite = true;  ///< what went into it here
};

/// What a rank computes on the cells of a program, and where their frames lie. The running sum and the
/// residual lie in the buffers; frames at Stage::local are plain float32. What is computed is done in the
/// order of the calls, though not always before they return: frame_ready() and settled() tell. A cell is its
/// index in the program. Whether all was finite is only looked at where the codec is lossy.
class CellArithmetic {
 public:
  CellArithmetic(bool average, Program program, Layout layout, std::shared_ptr<const compress::Codec> codec);
  virtual ~CellArithmetic() = default;
  CellArithmetic(const CellArithmetic&) = delete;
  CellArithmetic& operator=(const CellArithmetic&) = delete;

  [[nodiscard]] const Program& program() const noexcept { return program_; }
  [[nodiscard]] const Layout& layout() const noexcept { return layout_; }
  [[nodiscard]] const compress::Codec& codec() const noexcept { return *codec_; }
  /// That of a stage's frames.
  [[nodiscard]] const compress::Codec& codec(Stage stage) const noexcept {
    return stage == Stage::local ? *plain_ : *codec_;
  }
  [[nodiscard]] const Segment& segment(std::uint32_t cell) const noexcept {
    return layout_.segments[program_.cells[cell].segment];
  }
  [[nodiscard]] std::span<const Piece> pieces(std::uint32_t cell) const noexcept;
  [[nodiscard]] DType dtype(std::uint32_t cell) const noexcept;

  /// Begins a run. One buffer per tensor of the layout, valid until settled().
  void start(std::span<const Buffer> buffers) {
    buffers_ = buffers;
    begin();
  }
  /// 16-bit elements are summed in float32: widens them, and rounds the result, which counts as not finite
  /// when a finite one does not fit into its 16 bits.
  virtual void load(std::uint32_t cell) = 0;
  virtual void store(std::uint32_t cell) = 0;

  /// Running sum plus residual into the cell's frame.
  virtual void encode(std::uint32_t cell, Stage stage) = 0;
  /// add() of a partial sum, then encode() at a stage that is not local, without storing the sum.
  virtual void add_then_encode(std::uint32_t cell, std::span<const std::byte> payload, Stage stage) = 0;
  virtual void add(std::uint32_t cell, std::span<const std::byte> payload, Stage stage) = 0;
  virtual void assign(std::uint32_t cell, std::span<const std::byte> payload) = 0;
  /// assign(), and the payload becomes the cell's frame.
  virtual void keep(std::uint32_t cell, std::span<const std::byte> payload) = 0;
  virtual void add_own(std::uint32_t cell, Stage stage) = 0;
  virtual void assign_own(std::uint32_t cell) = 0;
  /// The running sum plus residual becomes the result.
  virtual void finish(std::uint32_t cell) = 0;
  /// Every cell has come to its end.
  virtual void end() = 0;
  /// After end(): every tensor becomes NaN, and the residual the next one.
  virtual void void_results() = 0;

  [[nodiscard]] virtual CellFrame frame(std::uint32_t cell) noexcept = 0;
  /// Whether one of the functions above can take a payload now.
  [[nodiscard]] virtual bool can_take() = 0;
  /// Whether the frame that encode() makes is there.
  [[nodiscard]] virtual bool frame_ready(std::uint32_t cell) = 0;
  /// After end() or void_results(): whether everything is done.
  [[nodiscard]] virtual bool settled() = 0;
  /// Whether one of the three above has said no since this was last asked, because something is still being
  /// computed: nobody will tell when it is done, so the same has to be asked again.
  [[nodiscard]] virtual bool has_said_no() noexcept = 0;
  /// After settled(): whether something was not finite.
  [[nodiscard]] virtual bool non_finite() const noexcept = 0;
  /// In the midst of a run that nobody ends: returns when the buffers are not used any more.
  virtual void abandon() noexcept = 0;

 protected:
  virtual void begin() = 0;

  [[nodiscard]] std::span<const Buffer> buffers() const noexcept { return buffers_; }
  [[nodiscard]] const Buffer& buffer_of(const Piece& piece) const noexcept { return buffers_[piece.tensor]; }
  [[nodiscard]] float* sum_at(const Piece& piece) const noexcept {
    return buffer_of(piece).work + piece.begin;
  }
  [[nodiscard]] compress::Encode sum_of(const Piece& piece, Stage stage) const noexcept {
    return collectives::sum_of(buffer_of(piece), piece, scale(stage));
  }
  [[nodiscard]] float add_factor(Stage stage) const noexcept {
    return program_.layered ? 1.0F : 1.0F / scale(stage);
  }

 private:
  [[nodiscard]] float scale(Stage stage) const noexcept {
    return encoding_scale(average_, program_.ranks, stage, codec(stage));
  }

  bool average_;
  Program program_;
  Layout layout_;
  std::shared_ptr<const compress::Codec> codec_;
  std::shared_ptr<const compress::Codec> plain_;  ///< inside a host
  std::span<const Buffer> buffers_;
};

}  // namespace gradwire::collectives
