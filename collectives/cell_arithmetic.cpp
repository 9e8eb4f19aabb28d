#include "collectives/cell_arithmetic.hpp"

#include <utility>

namespace gradwire::collectives {

float encoding_scale(bool average, int ranks, Stage stage, const compress::Codec& codec) noexcept {
  const bool scaled = average && (stage == Stage::result || codec.narrow_range());
  return scaled ? 1.0F / static_cast<float>(ranks) : 1.0F;
}

compress::Encode sum_of(const Buffer& buffer, const Piece& piece, float scale) noexcept {
  return {.value = buffer.work + piece.begin,
          .residual = buffer.residual != nullptr ? buffer.residual + piece.begin : nullptr,
          .residual_out = buffer.next_residual != nullptr ? buffer.next_residual + piece.begin : nullptr,
          .count = piece.count,
          .scale = scale};
}

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

}  // namespace gradwire::collectives
