#pragma once

#include <concepts>
#include <type_traits>

#include "compress/cuda/launch.cuh"

namespace gradwire::compress {

// The kernel of everything that treats each element alike. Every element belongs to one thread, which loads
// all that it needs of it before it stores anything there: work in place is safe.

/// What is done to the kWidth elements from the i-th on, kWidth being 4 or 1: a struct of plain values.
/// kParts is how many accesses to each of its arrays a thread has under way, a Part what is loaded at once.
/// load() and store() are __device__ functions.
template <class Work>
concept ElementWork = std::is_trivially_copyable_v<Work> &&
    requires(const Work& work, std::size_t i, const typename Work::template Part<1>& single,
             const typename Work::template Part<4>& quad) {
  { Work::kParts } -> std::convertible_to<unsigned>;
  { work.template load<1>(i) } -> std::same_as<typename Work::template Part<1>>;
  { work.template load<4>(i) } -> std::same_as<typename Work::template Part<4>>;
  work.template store<1>(i, single);
  work.template store<4>(i, quad);
};

/// All loads are under way before the first is waited for.
template <unsigned kWidth, ElementWork Work>
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

template <unsigned kWidth, ElementWork Work>
__device__ __forceinline__ void do_part(const Work& work, std::size_t i) {
  work.template store<kWidth>(i, work.template load<kWidth>(i));
}

/// Parts are numbered: the quads, the singles of the head, those of the rest.
template <ElementWork Work>
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

template <ElementWork Work>
void load_for_each() {
  load_kernel(for_each_kernel<Work>);
}

template <ElementWork Work>
void for_each(const Work& work, const Cut& cut, Stream stream) {
  launch_kernel(for_each_kernel<Work>, each_grid(cut, Work::kParts), stream, work, cut);
}

}  // namespace gradwire::compress
