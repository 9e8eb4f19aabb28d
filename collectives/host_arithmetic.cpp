#include "collectives/host_arithmetic.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "compress/convert.hpp"

namespace gradwire::collectives {
namespace {

std::byte* elements(const Tensor& tensor, std::size_t begin) noexcept {
  return static_cast<std::byte*>(tensor.data) + begin * size_of(tensor.dtype);
}

}  // namespace

HostArithmetic::HostArithmetic(bool average, Program program, Layout layout,
                               std::shared_ptr<const compress::Codec> codec)
    : CellArithmetic(average, std::move(program), std::move(layout), std::move(codec)),
      frames_(this->program().frame_bytes),
      states_(this->program().cells.size()) {}

void HostArithmetic::begin() {
  std::fill(states_.begin(), states_.end(), FrameState{});
  non_finite_ = false;
}

void HostArithmetic::load(std::uint32_t cell) {
  for (const Piece& piece : pieces(cell)) {
    const Tensor& tensor = buffer_of(piece).tensor;
    if (tensor.dtype == DType::float32) continue;
    compress::to_float32(tensor.dtype, elements(tensor, piece.begin), sum_at(piece), piece.count);
  }
}

void HostArithmetic::store(std::uint32_t cell) {
  bool fits = true;
  for (const Piece& piece : pieces(cell)) {
    const Tensor& tensor = buffer_of(piece).tensor;
    if (tensor.dtype == DType::float32) continue;
    fits &= compress::from_float32(tensor.dtype, sum_at(piece), elements(tensor, piece.begin), piece.count);
  }
  note(cell, fits || !codec().lossy());
}

/// Hands every piece its part of the payload.
template <typename Visit>
void HostArithmetic::split(std::uint32_t cell, std::span<const std::byte> payload, Stage stage,
                           Visit visit) const {
  const auto parts = pieces(cell);
  for (const Piece& piece : parts) {
    const std::size_t length = parts.size() == 1 ? payload.size() : codec(stage).max_payload(piece.count);
    visit(piece, payload.first(length));
    payload = payload.subspan(length);
  }
}

/// As finish(): a residual that would be added to a NaN is kept.
compress::Encoded HostArithmetic::encode_plain(const compress::Encode& sum, std::byte* frame) const {
  const compress::Codec& plain = codec(Stage::local);
  if (!codec().lossy()) return plain.encode(sum, frame);
  const bool finite = compress::finish_sum(sum, reinterpret_cast<float*>(frame), true);
  return {plain.max_payload(sum.count), finite};
}

void HostArithmetic::encode(std::uint32_t cell, Stage stage) {
  std::byte* frame = memory_of(cell);
  compress::Encoded all;
  for (const Piece& piece : pieces(cell)) {
    const compress::Encode sum = sum_of(piece, stage);
    std::byte* to = frame + all.bytes;
    const compress::Encoded one = stage == Stage::local ? encode_plain(sum, to) : codec().encode(sum, to);
    all = {all.bytes + one.bytes, all.finite && one.finite};
  }
  encoded(cell, all);
}

void HostArithmetic::add_then_encode(std::uint32_t cell, std::span<const std::byte> payload, Stage stage) {
  std::byte* frame = memory_of(cell);
  compress::Encoded all;
  split(cell, payload, Stage::partial, [&](const Piece& piece, std::span<const std::byte> part) {
    const compress::Encoded one =
        codec().add_then_encode(part, add_factor(Stage::partial), sum_of(piece, stage), frame + all.bytes);
    all = {all.bytes + one.bytes, all.finite && one.finite};
  });
  encoded(cell, all);
}

void HostArithmetic::add(std::uint32_t cell, std::span<const std::byte> payload, Stage stage) {
  split(cell, payload, stage, [&](const Piece& piece, std::span<const std::byte> part) {
    codec(stage).decode_add(part, sum_at(piece), piece.count, add_factor(stage));
  });
}

void HostArithmetic::assign(std::uint32_t cell, std::span<const std::byte> payload) {
  split(cell, payload, Stage::result, [&](const Piece& piece, std::span<const std::byte> part) {
    codec().decode_assign(part, sum_at(piece), piece.count);
  });
}

void HostArithmetic::keep(std::uint32_t cell, std::span<const std::byte> payload) {
  if (!program().cells[cell].alias) std::copy(payload.begin(), payload.end(), memory_of(cell));
  states_[cell].bytes = static_cast<std::uint32_t>(payload.size());
  assign(cell, payload);
}

void HostArithmetic::add_own(std::uint32_t cell, Stage stage) { add(cell, frame(cell).payload, stage); }

void HostArithmetic::assign_own(std::uint32_t cell) {
  if (!program().cells[cell].alias) assign(cell, frame(cell).payload);
}

void HostArithmetic::finish(std::uint32_t cell) {
  bool finite = true;
  for (const Piece& piece : pieces(cell)) {
    finite &= compress::finish_sum(sum_of(piece, Stage::result), sum_at(piece), codec().lossy());
  }
  note(cell, finite);
}

void HostArithmetic::void_results() {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  for (const Buffer& buffer : buffers()) {
    const Tensor& tensor = buffer.tensor;
    if (tensor.dtype == DType::float32) {
      std::fill_n(static_cast<float*>(tensor.data), tensor.count, kNan);
    } else {
      std::uint16_t nan = 0;
      compress::from_float32(tensor.dtype, &kNan, &nan, 1);
      std::fill_n(static_cast<std::uint16_t*>(tensor.data), tensor.count, nan);
    }
    if (buffer.next_residual != buffer.residual) {
      std::copy_n(buffer.residual, tensor.count, buffer.next_residual);
    }
  }
}

std::byte* HostArithmetic::memory_of(std::uint32_t cell) noexcept {
  const Cell& of = program().cells[cell];
  return of.alias ? reinterpret_cast<std::byte*>(sum_at(pieces(cell).front()))
                  : frames_.data() + of.frame_offset;
}

CellFrame HostArithmetic::frame(std::uint32_t cell) noexcept {
  return {{memory_of(cell), states_[cell].bytes}, states_[cell].finite};
}

void HostArithmetic::encoded(std::uint32_t cell, const compress::Encoded& result) noexcept {
  states_[cell].bytes = static_cast<std::uint32_t>(result.bytes);
  note(cell, result.finite);
}

void HostArithmetic::note(std::uint32_t cell, bool finite) noexcept {
  if (finite) return;
  states_[cell].finite = false;
  non_finite_ = true;
}

}  // namespace gradwire::collectives
