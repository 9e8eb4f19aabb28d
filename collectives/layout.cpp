#include "collectives/layout.hpp"

#include <algorithm>

#include "wire/header.hpp"

namespace gradwire::collectives {
namespace {

constexpr std::size_t kMinSegmentPayload = 8 * 1024;
constexpr std::size_t kSegmentsPerChunk = 4;

constexpr std::size_t divide_up(std::size_t a, std::size_t b) { return (a + b - 1) / b; }

/// Walks over all tensors, any number of blocks of one tensor at once. A tensor's last block may be short.
class Cursor {
 public:
  Cursor(std::span<const std::size_t> counts, const compress::Codec& codec)
      : counts_(counts),
        codec_(&codec),
        block_(codec.block()),
        block_bytes_(codec.max_payload(codec.block())) {
    skip_finished();
  }

  [[nodiscard]] bool at_end() const { return tensor_ == counts_.size(); }

  /// Whole blocks left in this tensor; when there are none, what is left is one short block.
  [[nodiscard]] std::size_t whole_blocks() const { return (counts_[tensor_] - element_) / block_; }
  [[nodiscard]] std::size_t block_bytes() const {
    return whole_blocks() > 0 ? block_bytes_ : codec_->max_payload(counts_[tensor_] - element_);
  }

  /// Takes up to `blocks` whole blocks of this tensor, or its short one, as a piece.
  Piece take(std::size_t blocks) {
    const std::size_t whole = whole_blocks();
    const std::size_t count = whole > 0 ? std::min(blocks, whole) * block_ : counts_[tensor_] - element_;
    const Piece piece{.tensor = static_cast<std::uint32_t>(tensor_), .begin = element_, .count = count};
    element_ += count;
    skip_finished();
    return piece;
  }

 private:
  void skip_finished() {
    while (tensor_ < counts_.size() && element_ == counts_[tensor_]) {
      ++tensor_;
      element_ = 0;
    }
  }

  std::span<const std::size_t> counts_;
  const compress::Codec* codec_;
  std::size_t block_;
  std::size_t block_bytes_;
  std::size_t tensor_ = 0;
  std::size_t element_ = 0;
};

/// Grows the last piece where the new one continues it, unless it lies before `first`.
void append(std::vector<Piece>& pieces, const Piece& piece, std::size_t first) {
  if (pieces.size() > first && pieces.back().tensor == piece.tensor &&
      pieces.back().begin + pieces.back().count == piece.begin) {
    pieces.back().count += piece.count;
  } else {
    pieces.push_back(piece);
  }
}

/// Takes pieces until about `target` bytes are reached, rounding to the nearest block. Returns the bytes
/// taken.
std::size_t take_chunk(Cursor& cursor, std::size_t target, bool last, std::vector<Piece>& pieces) {
  std::size_t taken = 0;
  while (!cursor.at_end()) {
    const std::size_t bytes = std::max<std::size_t>(cursor.block_bytes(), 1);
    std::size_t blocks = cursor.whole_blocks();
    if (!last) {
      if (taken >= target) break;
      blocks = std::min((target - taken + bytes / 2) / bytes, std::max<std::size_t>(blocks, 1));
      if (blocks == 0) break;
    }
    taken += bytes * std::max<std::size_t>(blocks, 1);
    append(pieces, cursor.take(blocks), 0);
  }
  return taken;
}

/// Cuts one chunk's pieces into segments of nearly equal size, none above `limit` unless a block alone is.
class SegmentCutter {
 public:
  SegmentCutter(Layout& layout, const compress::Codec& codec, std::size_t limit)
      : layout_(&layout), codec_(&codec), block_(codec.block()), limit_(std::max<std::size_t>(limit, 1)) {}

  void cut(std::uint32_t chunk, std::span<const Piece> pieces) {
    std::size_t left = 0;
    for (const Piece& piece : pieces) left += codec_->max_payload(piece.count);
    begin(chunk, 0, left);
    for (Piece rest : pieces) {
      while (rest.count > 0) {
        const std::size_t count = fitting(rest.count);
        if (count == 0) {
          left -= std::min(left, segment_.payload_bound);
          end();
          begin(chunk, segment_.index + 1, left);
          continue;
        }
        append(layout_->pieces, {.tensor = rest.tensor, .begin = rest.begin, .count = count},
               segment_.piece_begin);
        segment_.count += count;
        segment_.payload_bound += codec_->max_payload(count);
        rest.begin += count;
        rest.count -= count;
      }
    }
    if (segment_.count > 0) end();
  }

 private:
  void begin(std::uint32_t chunk, std::uint32_t index, std::size_t left) {
    segment_ = {
        .chunk = chunk, .index = index, .piece_begin = static_cast<std::uint32_t>(layout_->pieces.size())};
    const std::size_t segments = std::max<std::size_t>(divide_up(left, limit_), 1);
    target_ = divide_up(left, segments);
  }

  void end() {
    segment_.piece_end = static_cast<std::uint32_t>(layout_->pieces.size());
    layout_->segments.push_back(segment_);
  }

  /// How many of `count` elements go into the open segment; 0 closes it.
  [[nodiscard]] std::size_t fitting(std::size_t count) const {
    const std::size_t used = segment_.payload_bound;
    if (used >= target_ && segment_.count > 0) return 0;
    const std::size_t whole = count / block_;
    const std::size_t bytes = std::max<std::size_t>(codec_->max_payload(whole > 0 ? block_ : count), 1);
    const std::size_t room = limit_ > used ? (limit_ - used) / bytes : 0;
    if (room == 0) return segment_.count > 0 ? 0 : std::min(count, block_);
    if (whole == 0) return count;
    const std::size_t wanted = std::max<std::size_t>(divide_up(target_ - std::min(used, target_), bytes), 1);
    return std::min({whole, room, wanted}) * block_;
  }

  Layout* layout_;
  const compress::Codec* codec_;
  std::size_t block_;
  std::size_t limit_;
  std::size_t target_ = 0;
  Segment segment_;
};

}  // namespace

Layout make_layout(std::span<const std::size_t> counts, const compress::Codec& codec, int chunk_count,
                   std::size_t segment_payload) {
  const std::size_t chunks = static_cast<std::size_t>(std::max(chunk_count, 1));
  const std::size_t total = total_payload(counts, codec);

  Layout layout;
  Cursor cursor(counts, codec);
  SegmentCutter cutter(layout, codec, segment_payload);
  std::vector<Piece> pieces;
  std::size_t taken = 0;
  for (std::size_t chunk = 0; chunk < chunks; ++chunk) {
    layout.chunk_segments.push_back(static_cast<std::uint32_t>(layout.segments.size()));
    const std::size_t target = total / chunks * (chunk + 1) + total % chunks * (chunk + 1) / chunks;
    pieces.clear();
    taken += take_chunk(cursor, target - std::min(target, taken), chunk + 1 == chunks, pieces);
    cutter.cut(static_cast<std::uint32_t>(chunk), pieces);
  }
  layout.chunk_segments.push_back(static_cast<std::uint32_t>(layout.segments.size()));
  return layout;
}

std::size_t total_payload(std::span<const std::size_t> counts, const compress::Codec& codec) {
  std::size_t bytes = 0;
  for (const std::size_t count : counts) bytes += codec.max_payload(count);
  return bytes;
}

std::vector<std::size_t> chunk_payloads(const Layout& layout) {
  std::vector<std::size_t> bytes(layout.chunk_segments.size() - 1, 0);
  for (const Segment& segment : layout.segments) bytes[segment.chunk] += segment.payload_bound;
  return bytes;
}

std::size_t choose_segment_payload(std::size_t payload_bytes, int chunk_count) noexcept {
  const std::size_t chunk = divide_up(payload_bytes, static_cast<std::size_t>(std::max(chunk_count, 1)));
  return std::clamp(divide_up(chunk, kSegmentsPerChunk), kMinSegmentPayload, wire::kMaxPayload);
}

}  // namespace gradwire::collectives
