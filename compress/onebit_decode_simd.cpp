#include "compress/simd_targets.hpp"
// Highway compiles this file once per target, each into a namespace of its own.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compress/onebit_decode_simd.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/highway.h>

#include "compress/onebit_arithmetic.hpp"
#include "compress/onebit_simd-inl.hpp"
#include "compress/onebit_simd.hpp"

HWY_BEFORE_NAMESPACE();
namespace gradwire::compress::HWY_NAMESPACE {
namespace {

#if HWY_TARGET == HWY_SCALAR

void assign_full_blocks(const OnebitOptions& options, const std::byte* payload, float* out,
                        std::size_t count) {
  onebit_scalar_kernels().decode_assign(options, payload, out, count - count % options.block);
}

void add_full_blocks(const OnebitOptions& options, const std::byte* payload, float* sum, std::size_t count,
                     float factor) {
  onebit_scalar_kernels().decode_add(options, payload, sum, count - count % options.block, factor);
}

#else

/// kBlock is the block size, or 0 for any.
template <bool kAdd, std::size_t kBlock>
void decode_blocks(const OnebitOptions& options, const std::byte* payload, float* out, std::size_t count,
                   float factor) {
  const Floats d;
  const std::size_t block = kBlock == 0 ? options.block : kBlock;
  const std::size_t bytes = onebit_scale_bytes(options.scale) + block / 8;
  for (std::size_t first = 0; count - first >= block; first += block, payload += bytes) {
    const OnebitDecoded levels = onebit_load_levels(options.scale, payload, factor);
    const Vec upper = hn::Set(d, levels.upper);
    const Vec lower = hn::Set(d, levels.lower);
    const std::byte* bits = payload + onebit_scale_bytes(options.scale);
    float* to = out + first;
    for (std::size_t i = 0; i < block; i += kLanes) {
      Vec v = hn::IfThenElse(mask_at(bits, i), upper, lower);
      if constexpr (kAdd) {
        prefetch_to_write(to, i);
        v = hn::Add(hn::LoadU(d, to + i), v);
      }
      hn::StoreU(v, d, to + i);
    }
  }
}

template <bool kAdd>
void decode_any(const OnebitOptions& options, const std::byte* payload, float* out, std::size_t count,
                float factor) {
  if (options.block == kUsualBlock) {
    decode_blocks<kAdd, kUsualBlock>(options, payload, out, count, factor);
  } else {
    decode_blocks<kAdd, 0>(options, payload, out, count, factor);
  }
}

void assign_full_blocks(const OnebitOptions& options, const std::byte* payload, float* out,
                        std::size_t count) {
  decode_any<false>(options, payload, out, count, 1.0F);
}

void add_full_blocks(const OnebitOptions& options, const std::byte* payload, float* sum, std::size_t count,
                     float factor) {
  decode_any<true>(options, payload, sum, count, factor);
}

#endif
}  // namespace
}  // namespace gradwire::compress::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gradwire::compress {
namespace {
HWY_EXPORT(assign_full_blocks);
HWY_EXPORT(add_full_blocks);
}  // namespace

void onebit_assign_full_blocks(const OnebitOptions& options, const std::byte* payload, float* out,
                               std::size_t count) {
  HWY_DYNAMIC_DISPATCH(assign_full_blocks)(options, payload, out, count);
}

void onebit_add_full_blocks(const OnebitOptions& options, const std::byte* payload, float* sum,
                            std::size_t count, float factor) {
  HWY_DYNAMIC_DISPATCH(add_full_blocks)(options, payload, sum, count, factor);
}

}  // namespace gradwire::compress
#endif  // HWY_ONCE
