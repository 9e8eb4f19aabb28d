#include "collectives/cell_arithmetic.hpp"

#include <utility>

namespace gradwire::collectives {

CellArithmetic::CellArithmetic(bool average, Program program, Layout layout,
                               std::shared_ptr<const compress::Codec> codec)
    : average_(average),
      program_(std::move(program)),
      layout_(std::move(layout)),
      codec_(std::move(codec)),
      plain_(compress::make_codec("none")) {}

std::span<const Piece> CellArithmetic::pieces(std::uint32_t cell) const noexcept {
  const Segment& all = segment(cell);
  return {layout_.pieces.data() + all.piece_begin, layout_.pieces.data() + all.piece_end};
}

DType CellArithmetic::dtype(std::uint32_t cell) const noexcept {
  return buffer_of(pieces(cell).front()).tensor.dtype;
}

float CellArithmetic::scale(Stage stage) const noexcept {
  const bool scaled = average_ && (stage == Stage::result || codec(stage).narrow_range());
  return scaled ? 1.0F / static_cast<float>(program_.ranks) : 1.0F;
}

compress::Encode CellArithmetic::sum_of(const Piece& piece, Stage stage) const noexcept {
  const Buffer& buffer = buffer_of(piece);
  return {.value = buffer.work + piece.begin,
          .residual = buffer.residual != nullptr ? buffer.residual + piece.begin : nullptr,
          .residual_out = buffer.next_residual != nullptr ? buffer.next_residual + piece.begin : nullptr,
          .count = piece.count,
          .scale = scale(stage)};
}

}  // namespace gradwire::collectives
