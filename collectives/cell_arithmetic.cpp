#include "collectives/cell_arithmetic.hpp"

#include <utility>

#include "compress/convert.hpp"

namespace gradwire::collectives {
namespace {

std::byte* elements(const Tensor& tensor, std::size_t begin) noexcept {
  return static_cast<std::byte*>(tensor.data) + begin * size_of(tensor.dtype);
}

}  // namespace

CellArithmetic::CellArithmetic(bool average, int ranks, bool layered, Layout layout,
                               std::shared_ptr<const compress::Codec> codec)
    : average_(average),
      ranks_(ranks),
      layered_(layered),
      layout_(std::move(layout)),
      codec_(std::move(codec)),
      plain_(compress::make_codec("none")) {}

std::span<const Piece> CellArithmetic::pieces(const Segment& segment) const noexcept {
  return {layout_.pieces.data() + segment.piece_begin, layout_.pieces.data() + segment.piece_end};
}

DType CellArithmetic::dtype(const Segment& segment) const noexcept {
  return buffers_[pieces(segment).front().tensor].tensor.dtype;
}

std::byte* CellArithmetic::memory(const Segment& segment) const noexcept {
  const Piece& piece = pieces(segment).front();
  return reinterpret_cast<std::byte*>(buffers_[piece.tensor].work + piece.begin);
}

void CellArithmetic::load(const Segment& segment) const {
  for (const Piece& piece : pieces(segment)) {
    const Buffer& buffer = buffers_[piece.tensor];
    if (buffer.tensor.dtype == DType::float32) continue;
    compress::to_float32(buffer.tensor.dtype, elements(buffer.tensor, piece.begin), buffer.work + piece.begin,
                         piece.count);
  }
}

bool CellArithmetic::store(const Segment& segment) const {
  bool fits = true;
  for (const Piece& piece : pieces(segment)) {
    const Buffer& buffer = buffers_[piece.tensor];
    if (buffer.tensor.dtype == DType::float32) continue;
    fits &= compress::from_float32(buffer.tensor.dtype, buffer.work + piece.begin,
                                   elements(buffer.tensor, piece.begin), piece.count);
  }
  return fits || !codec_->lossy();
}

float CellArithmetic::scale(Stage stage) const noexcept {
  const bool scaled = average_ && (stage == Stage::result || codec(stage).narrow_range());
  return scaled ? 1.0F / static_cast<float>(ranks_) : 1.0F;
}

compress::Encode CellArithmetic::sum_of(const Piece& piece, Stage stage) const noexcept {
  const Buffer& buffer = buffers_[piece.tensor];
  return {.value = buffer.work + piece.begin,
          .residual = buffer.residual != nullptr ? buffer.residual + piece.begin : nullptr,
          .residual_out = buffer.next_residual != nullptr ? buffer.next_residual + piece.begin : nullptr,
          .count = piece.count,
          .scale = scale(stage)};
}

/// Hands every piece its part of the payload.
template <typename Visit>
void CellArithmetic::split(const Segment& segment, std::span<const std::byte> payload, Stage stage,
                           Visit visit) const {
  const auto parts = pieces(segment);
  for (const Piece& piece : parts) {
    const std::size_t length = parts.size() == 1 ? payload.size() : codec(stage).max_payload(piece.count);
    visit(piece, payload.first(length));
    payload = payload.subspan(length);
  }
}

/// As finish(): a residual that would be added to a NaN is kept.
compress::Encoded CellArithmetic::encode_plain(const compress::Encode& sum, std::byte* frame) const {
  if (!codec_->lossy()) return plain_->encode(sum, frame);
  const bool finite = compress::finish_sum(sum, reinterpret_cast<float*>(frame), true);
  return {plain_->max_payload(sum.count), finite};
}

compress::Encoded CellArithmetic::encode(const Segment& segment, Stage stage, std::byte* frame) const {
  compress::Encoded all;
  for (const Piece& piece : pieces(segment)) {
    const compress::Encode sum = sum_of(piece, stage);
    std::byte* to = frame + all.bytes;
    const compress::Encoded one = stage == Stage::local ? encode_plain(sum, to) : codec_->encode(sum, to);
    all = {all.bytes + one.bytes, all.finite && one.finite};
  }
  return all;
}

compress::Encoded CellArithmetic::add_then_encode(const Segment& segment, std::span<const std::byte> payload,
                                                  Stage stage, std::byte* frame) const {
  compress::Encoded all;
  split(segment, payload, Stage::partial, [&](const Piece& piece, std::span<const std::byte> part) {
    const compress::Encoded one =
        codec_->add_then_encode(part, add_factor(Stage::partial), sum_of(piece, stage), frame + all.bytes);
    all = {all.bytes + one.bytes, all.finite && one.finite};
  });
  return all;
}

void CellArithmetic::add(const Segment& segment, std::span<const std::byte> payload, Stage stage) const {
  split(segment, payload, stage, [&](const Piece& piece, std::span<const std::byte> part) {
    codec(stage).decode_add(part, buffers_[piece.tensor].work + piece.begin, piece.count, add_factor(stage));
  });
}

void CellArithmetic::assign(const Segment& segment, std::span<const std::byte> payload) const {
  split(segment, payload, Stage::result, [&](const Piece& piece, std::span<const std::byte> part) {
    codec_->decode_assign(part, buffers_[piece.tensor].work + piece.begin, piece.count);
  });
}

bool CellArithmetic::finish(const Segment& segment) const {
  bool finite = true;
  for (const Piece& piece : pieces(segment)) {
    float* sum = buffers_[piece.tensor].work + piece.begin;
    finite &= compress::finish_sum(sum_of(piece, Stage::result), sum, codec_->lossy());
  }
  return finite;
}

}  // namespace gradwire::collectives
