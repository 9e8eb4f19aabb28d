#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace gradwire::compress {

// How much of an array each part of a kernel launch takes: pure functions of addresses and sizes.

inline constexpr unsigned kWarpLanes = 32;

/// Thread blocks of a launch, and threads in each.
struct Grid {
  unsigned blocks = 0;  ///< 0: nothing to launch
  unsigned threads = 0;
};

constexpr std::size_t parts_of(std::size_t count, std::size_t part) noexcept {
  return count / part + (count % part == 0 ? 0 : 1);
}

/// An array as kernels take it that treat each element alike: `head` elements one by one, then quads of four
/// elements that move in one access, then the rest one by one again.
struct Cut {
  std::size_t head = 0;
  std::size_t quads = 0;
  std::size_t singles = 0;  ///< those of the head and of the rest

  [[nodiscard]] constexpr std::size_t parts() const noexcept { return quads + singles; }
};

/// One of the arrays that such a kernel goes through.
struct Array {
  std::uintptr_t address = 0;  ///< 0: there is none
  std::size_t element = 0;     ///< bytes of an element
};

inline Array array_of(const float* array) noexcept {
  return {reinterpret_cast<std::uintptr_t>(array), sizeof(float)};
}
inline Array array_of(const std::byte* payload, std::size_t element) noexcept {
  return {reinterpret_cast<std::uintptr_t>(payload), element};
}

/// Whether four elements of the array, beginning with element `first`, are one aligned access.
constexpr bool quads_begin_at(const Array& array, std::size_t first) noexcept {
  return array.address == 0 || (array.address + first * array.element) % (4 * array.element) == 0;
}

/// The shortest head after which quads are aligned in all arrays; where there is none, all are singles.
constexpr Cut cut_arrays(std::size_t count, std::initializer_list<Array> arrays) noexcept {
  for (std::size_t head = 0; head < 4 && head < count; ++head) {
    bool aligned = true;
    for (const Array& array : arrays) aligned = aligned && quads_begin_at(array, head);
    if (aligned) return {head, (count - head) / 4, count - (count - head) / 4 * 4};
  }
  return {0, 0, count};
}

/// The same without a head, for payloads whose bits do not begin anywhere.
constexpr Cut cut_from_start(std::size_t count, const Array& array) noexcept {
  if (!quads_begin_at(array, 0)) return {0, 0, count};
  return {0, count / 4, count % 4};
}

inline constexpr unsigned kEachThreads = 256;

/// `parts` of the cut for each thread.
constexpr Grid each_grid(const Cut& cut, unsigned parts) noexcept {
  return {static_cast<unsigned>(parts_of(cut.parts(), std::size_t{kEachThreads} * parts)), kEachThreads};
}

/// How 1-bit encoding deals blocks to warps. A warp takes a tile at a time.
struct OnebitTiles {
  /// 16-byte accesses of a lane, which then keeps what it read in registers: 1, 2, 4 or 8. 0: every lane
  /// takes single elements, and reads them once more when the scales are known.
  unsigned quads = 0;
  std::size_t elements = 0;  ///< of a tile: one block or several small ones
};

/// Elements that 32 lanes take with 16-byte accesses.
inline constexpr std::size_t kWarpQuads = 4 * std::size_t{kWarpLanes};

/// `aligned`: all arrays begin at multiples of 16 bytes.
constexpr OnebitTiles onebit_tiles(std::size_t block, bool aligned) noexcept {
  constexpr std::size_t kMostQuads = 8;
  if (!aligned || block > kMostQuads * kWarpQuads) return {0, block < kWarpLanes ? kWarpLanes : block};
  const std::size_t elements = block < kWarpQuads ? kWarpQuads : block;
  return {static_cast<unsigned>(elements / kWarpQuads), elements};
}

/// Four warps in a thread block; for large tiles one, so that few of them spread over many multiprocessors.
constexpr Grid onebit_grid(std::size_t count, const OnebitTiles& tiles) noexcept {
  const std::size_t warps = tiles.elements > 8 * kWarpQuads ? 1 : 4;
  return {static_cast<unsigned>(parts_of(parts_of(count, tiles.elements), warps)),
          static_cast<unsigned>(warps) * kWarpLanes};
}

}  // namespace gradwire::compress
