#include "compress/onebit_simd.hpp"

#include "compress/encode_rest.hpp"

namespace gradwire::compress {
namespace {

/// Where the shorter block at the end begins; the scalar version does that one.
struct Tail {
  Tail(const OnebitOptions& options, std::size_t count)
      : first(count / options.block * options.block),
        offset(count / options.block * onebit_block_bytes(options)) {}
  std::size_t first;
  std::size_t offset;
};

bool encode(const OnebitOptions& options, const Encode& in, const Addend& addend, std::byte* payload) {
  bool finite = onebit_encode_full_blocks(options, in, addend, payload);
  const Tail tail(options, in.count);
  finite &= onebit_scalar_kernels().encode(options, from(in, tail.first), from(addend, tail.offset),
                                           payload + tail.offset);
  return finite;
}

void decode_assign(const OnebitOptions& options, const std::byte* payload, float* out, std::size_t count) {
  onebit_assign_full_blocks(options, payload, out, count);
  const Tail tail(options, count);
  onebit_scalar_kernels().decode_assign(options, payload + tail.offset, out + tail.first, count - tail.first);
}

void decode_add(const OnebitOptions& options, const std::byte* payload, float* sum, std::size_t count,
                float factor) {
  onebit_add_full_blocks(options, payload, sum, count, factor);
  const Tail tail(options, count);
  onebit_scalar_kernels().decode_add(options, payload + tail.offset, sum + tail.first, count - tail.first,
                                     factor);
}

}  // namespace

const OnebitKernels& onebit_simd_kernels() noexcept {
  static constexpr OnebitKernels kKernels{encode, decode_assign, decode_add};
  return kKernels;
}

}  // namespace gradwire::compress
