#pragma once

#include "compress/cuda/launch.cuh"

namespace gradwire::compress {

// The kernel of everything that treats each element alike. A Work is a struct of plain values with
//   static constexpr unsigned kParts;               accesses to each of its arrays that a thread has under
//   way template <unsigned kWidth> struct Part;                                         what is loaded at
//   once template <unsigned kWidth> __device__ Part<kWidth> load(std::size_t i) const; template <unsigned
//   kWidth> __device__ void store(std::size_t i, const Part<kWidth>& part) const;
// for the kWidth elements from i on, kWidth being 4 or 1. Every element belongs to one thread, which loads
// all that it needs of it before it stores anything there: work in place is safe.

/// All loads are under way before the first is waited for.
template <unsigned kWidth, class Work>
__device__ __forceinline__ void do_parts(const Work& work, std::size_t first) {
  typename Work::template Part<kWidth> parts[Work::kParts];
#pragma unroll
  for (unsigned k = 0; k < Work::kParts; ++k) {
    parts[k] = work.template load<kWidth>(first + std::size_t{k} * (kEachThreads * kWidth));
  }
#pragma unroll
  for (unsigned k = 0; k < Work::kParts; ++k) {
    work.template store<kWidth>(first + std::size_t{k} * (kEachThreads * kWidth), parts[k]);
  }
}

template <unsigned kWidth, class Work>
__device__ __forceinline__ void do_part(const Work& work, std::size_t i) {
  work.template store<kWidth>(i, work.template load<kWidth>(i));
}

/// Parts are numbered: the quads, the singles of the head, those of the rest.
template <class Work>
__global__ void __launch_bounds__(kEachThreads, 4) for_each_kernel(Work work, Cut cut) {
  const std::size_t begin = std::size_t{blockIdx.x} * (kEachThreads * Work::kParts);
  const std::size_t end = begin + kEachThreads * Work::kParts;
  const std::size_t first = begin + threadIdx.x;
  if (end <= cut.quads) {
    do_parts<4>(work, cut.head + 4 * first);
  } else if (begin >= cut.quads + cut.head && end <= cut.parts()) {
    do_parts<1>(work, first + 3 * cut.quads);
  } else {
#pragma unroll 1
    for (std::size_t part = first; part < end && part < cut.parts(); part += kEachThreads) {
      if (part < cut.quads) {
        do_part<4>(work, cut.head + 4 * part);
      } else {
        const std::size_t single = part - cut.quads;
        do_part<1>(work, single < cut.head ? single : part + 3 * cut.quads);
      }
    }
  }
}

template <class Work>
void for_each(const Work& work, const Cut& cut, Stream stream) {
  launch_kernel(for_each_kernel<Work>, each_grid(cut, Work::kParts), stream, work, cut);
}

}  // namespace gradwire::compress
