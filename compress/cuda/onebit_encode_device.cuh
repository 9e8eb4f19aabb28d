#pragma once

#include <cmath>

#include "compress/cuda/onebit_device.cuh"

namespace gradwire::compress {

// A warp encodes a tile: a block, or several small ones that a group of its lanes takes each. All 32 lanes
// come to every ballot and shuffle. That the halves of the canonical tree may be added in either order lets
// every lane of a group end with the sum.

inline constexpr unsigned kAllLanes = 0xFFFFFFFFU;

/// The lanes of a warp that share a block; their number is a power of two.
struct OnebitGroup {
  unsigned width;
  unsigned lane;  ///< within the group
  unsigned mask;  ///< of the group's lanes in the warp

  __device__ __forceinline__ explicit OnebitGroup(unsigned group_width)
      : width(group_width),
        lane(threadIdx.x & (group_width - 1)),
        mask((kAllLanes >> (kWarpLanes - group_width)) << (threadIdx.x & (kWarpLanes - group_width))) {}

  /// Adds lanes that are `distance` apart, and then those at half of it, until one is left. The distances
  /// beyond the group's are skipped.
  __device__ __forceinline__ float sum(float value) const {
#pragma unroll
    for (unsigned distance = kWarpLanes / 2; distance > 0; distance /= 2) {
      if (distance < width) value += __shfl_xor_sync(kAllLanes, value, distance);
    }
    return value;
  }
};

/// The accumulators of one lane, four of the 128 (or fewer, those left over staying +0).
struct OnebitLaneSums {
  Floats<4> upper = {};
  Floats<4> lower = {};

  template <OnebitScale kScale>
  __device__ __forceinline__ void add(unsigned c, float v) {
    if constexpr (kScale == OnebitScale::two_level) {
      upper.at[c] += v >= 0 ? v : 0.0F;
      lower.at[c] += v >= 0 ? 0.0F : v;
    } else {
      upper.at[c] += kScale == OnebitScale::l1 ? fabsf(v) : v * v;
    }
  }
};

/// Of accumulators that lie as 16-byte accesses do: four neighbours to a lane.
__device__ __forceinline__ float sum_neighbours(const OnebitGroup& group, const Floats<4>& sums) {
  const float sum0 = group.sum(sums.at[0]);
  const float sum1 = group.sum(sums.at[1]);
  const float sum2 = group.sum(sums.at[2]);
  const float sum3 = group.sum(sums.at[3]);
  return (sum0 + sum2) + (sum1 + sum3);
}

/// Of accumulators that lie as single elements do: neighbours in neighbouring lanes.
__device__ __forceinline__ float sum_strided(const OnebitGroup& group, const Floats<4>& sums) {
  return group.sum((sums.at[0] + sums.at[2]) + (sums.at[1] + sums.at[3]));
}

/// Stores the scales of a block that begins at `to`, and raises the flag.
template <OnebitScale kScale>
__device__ __forceinline__ OnebitLevels finish_block(const OnebitJob& job, const OnebitGroup& group,
                                                     const OnebitSums& sums, std::byte* to) {
  const OnebitLevels levels = onebit_levels(kScale, sums, job.in.scale, job.inverse);
  const unsigned stored = kScale == OnebitScale::two_level
                              ? levels.stored_lower | static_cast<unsigned>(levels.stored_upper) << 16U
                              : levels.stored_upper;
  if (group.lane < onebit_scale_bytes(kScale)) {
    to[group.lane] = static_cast<std::byte>(stored >> (8 * group.lane));
  }
  // All who write it write the same.
  if (!levels.finite) *job.non_finite = 1;
  return levels;
}

/// Byte k of the bits that four ballots hold, ballot c those of every lane's element c.
__device__ __forceinline__ unsigned byte_of_ballots(const unsigned (&ballots)[4], unsigned k) {
  unsigned byte = 0;
#pragma unroll
  for (unsigned c = 0; c < 4; ++c) {
    const unsigned pair = ballots[c] >> (2 * k);
    byte |= ((pair & 1U) | (pair & 2U) << 3U) << c;
  }
  return byte;
}

/// A full tile of kQuads * 128 elements from `first` on, all arrays aligned to 16 bytes. Lane l has the
/// elements 128 * q + 4 * l and the three after it, in registers from beginning to end.
template <OnebitScale kScale, unsigned kQuads>
__device__ __forceinline__ void encode_in_registers(const OnebitJob& job, std::size_t first) {
  const unsigned lane = threadIdx.x % kWarpLanes;
  const OnebitGroup group(kQuads > 1 || job.frame.block == kWarpQuads ? kWarpLanes : job.frame.block / 4);
  const std::size_t own = first + 4 * std::size_t{lane};

  // All loads are under way before the first is waited for.
  Floats<4> v[kQuads];
  Floats<4> residual[kQuads];
#pragma unroll
  for (unsigned q = 0; q < kQuads; ++q) v[q] = load_floats<4>(job.in.value + own + q * kWarpQuads);
#pragma unroll
  for (unsigned q = 0; q < kQuads; ++q)
    residual[q] = load_residuals<4>(job.in.residual, own + q * kWarpQuads);
  if (job.addend.payload != nullptr) {
    const std::byte* const from = job.addend.payload + job.frame.byte_of(own);
    unsigned bits[kQuads];
#pragma unroll
    for (unsigned q = 0; q < kQuads; ++q) {
      bits[q] = std::to_integer<unsigned>(from[q * (kWarpQuads / 8)]) >> (own & 7U);
    }
    // All quads of a lane lie in one block.
    const OnebitDecoded levels = onebit_decoded(
        kScale, onebit_load_stored(kScale, job.addend.payload + job.frame.block_of(own)), job.addend.factor);
#pragma unroll
    for (unsigned q = 0; q < kQuads; ++q) {
#pragma unroll
      for (unsigned c = 0; c < 4; ++c) v[q].at[c] += level_of(levels, bits[q], c);
    }
  }

  OnebitLaneSums lane_sums;
  unsigned upper_count = 0;
  unsigned picked[4] = {};  // of two quads in turn, for the lower and the upper half of the lanes
#pragma unroll
  for (unsigned q = 0; q < kQuads; ++q) {
#pragma unroll
    for (unsigned c = 0; c < 4; ++c) {
      v[q].at[c] += residual[q].at[c];
      lane_sums.add<kScale>(c, v[q].at[c]);
      const unsigned ballot = __ballot_sync(kAllLanes, v[q].at[c] >= 0);
      upper_count += static_cast<unsigned>(__popc(ballot & group.mask));
      if (lane / 16 == q % 2) picked[c] = ballot;
    }
    if (q % 2 == 1 || q + 1 == kQuads) {
      // Bytes of 8 elements, byte k from the lanes 2k and 2k + 1.
      const std::size_t at = first + (q - q % 2) * kWarpQuads + 8 * std::size_t{lane};
      if (lane / 16 <= q % 2) {
        job.payload[job.frame.byte_of(at)] = static_cast<std::byte>(byte_of_ballots(picked, lane % 16));
      }
    }
  }

  OnebitSums sums;
  sums.upper = sum_neighbours(group, lane_sums.upper);
  if constexpr (kScale == OnebitScale::two_level) sums.lower = sum_neighbours(group, lane_sums.lower);
  sums.upper_count = upper_count;
  sums.lower_count = job.frame.block - upper_count;
  const OnebitLevels levels = finish_block<kScale>(job, group, sums, job.payload + job.frame.block_of(own));

  if (job.in.residual_out == nullptr || (!levels.finite && job.in.residual_out == job.in.residual)) return;
#pragma unroll
  for (unsigned q = 0; q < kQuads; ++q) {
    const std::size_t at = own + q * kWarpQuads;
    Floats<4> lost;
    if (levels.finite) {
#pragma unroll
      for (unsigned c = 0; c < 4; ++c) {
        lost.at[c] = v[q].at[c] - (v[q].at[c] >= 0 ? levels.upper : levels.lower);
      }
    } else {
      lost = load_residuals<4>(job.in.residual, at);
    }
    store_floats<4>(job.in.residual_out + at, lost);
  }
}

/// The value of element i with what is added to it, without its residual.
template <OnebitScale kScale>
__device__ __forceinline__ float value_of(const OnebitJob& job, std::size_t i) {
  float v = job.in.value[i];
  if (job.addend.payload != nullptr) {
    const OnebitPart added = load_onebit<kScale, false>(job.frame, job.addend.payload, i);
    v += level_of(onebit_decoded(kScale, added.stored, job.addend.factor), added.bits, 0);
  }
  return v;
}

__device__ __forceinline__ float residual_of(const OnebitJob& job, std::size_t i) {
  return job.in.residual == nullptr ? 0.0F : job.in.residual[i];
}

/// A block of any size and alignment, the last one among them, or as many blocks of 16 as 32 lanes hold.
/// Neighbouring lanes take neighbouring elements, and take them twice: to sum them and for the residual.
template <OnebitScale kScale>
__device__ __forceinline__ void encode_in_steps(const OnebitJob& job, std::size_t first) {
  const unsigned block = job.frame.block;
  const OnebitGroup group(block < kWarpLanes ? block : kWarpLanes);
  const unsigned lane = threadIdx.x % kWarpLanes;
  const std::size_t begin = first + (lane - group.lane);
  const std::size_t left = begin < job.in.count ? job.in.count - begin : 0;
  const auto count = static_cast<unsigned>(left < block ? left : block);
  // The same for all lanes: a group narrower than a warp takes one step.
  const unsigned steps = block < kWarpLanes ? 1 : (count + kWarpLanes - 1) / kWarpLanes;
  std::byte* const to = job.payload + job.frame.block_of(begin);

  OnebitLaneSums lane_sums;
  unsigned upper_count = 0;
#pragma unroll 1
  for (unsigned step = 0; step < steps; step += 4) {
    Floats<4> v = {};
    Floats<4> residual = {};
#pragma unroll
    for (unsigned c = 0; c < 4; ++c) {
      const unsigned i = (step + c) * group.width + group.lane;
      if (i < count) {
        v.at[c] = value_of<kScale>(job, begin + i);
        residual.at[c] = residual_of(job, begin + i);
      }
    }
#pragma unroll
    for (unsigned c = 0; c < 4; ++c) {
      const unsigned i = (step + c) * group.width + group.lane;
      const float element = v.at[c] + residual.at[c];
      lane_sums.add<kScale>(c, element);
      const unsigned ballot = __ballot_sync(kAllLanes, i < count && element >= 0) & group.mask;
      upper_count += static_cast<unsigned>(__popc(ballot));
      // The group's first lanes store the bytes of this step.
      const unsigned at = (step + c) * group.width + 8 * group.lane;
      if (8 * group.lane < group.width && at < count) {
        to[job.frame.bits_from + at / 8] =
            static_cast<std::byte>(ballot >> (lane - group.lane + 8 * group.lane));
      }
    }
  }

  OnebitSums sums;
  sums.upper = sum_strided(group, lane_sums.upper);
  if constexpr (kScale == OnebitScale::two_level) sums.lower = sum_strided(group, lane_sums.lower);
  sums.upper_count = upper_count;
  sums.lower_count = count - upper_count;
  if (count == 0) return;
  const OnebitLevels levels = finish_block<kScale>(job, group, sums, to);

  if (job.in.residual_out == nullptr) return;
  float* const out = job.in.residual_out + begin;
#pragma unroll 4
  for (unsigned i = group.lane; i < count; i += group.width) {
    const float residual = residual_of(job, begin + i);
    const float v = value_of<kScale>(job, begin + i) + residual;
    out[i] = levels.finite ? v - (v >= 0 ? levels.upper : levels.lower) : residual;
  }
}

}  // namespace gradwire::compress
