#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "trainer/sgd_options.hpp"

struct CUstream_st;  // NOLINT(readability-identifier-naming)

// What a model needs of a device besides matrix products, as Compute and DeviceCompute describe it. Each call
// puts one kernel on a stream of the current device. But for the softmax, whose sums have another order, the
// bits are the host's. All throw Error(system).

namespace gradwire::trainer::kernels {

/// The compute capabilities that they were built for, 800 being 8.0, the oldest first. Older devices run none
/// of them.
[[nodiscard]] std::span<const int> built_for() noexcept;

/// Onto the current device, so that no first launch has to wait for what is under way there.
void load();

void add_bias(float* values, const float* bias, std::size_t rows, std::size_t columns, bool rectify,
              CUstream_st* stream);
void sum_rows(const float* values, float* sums, std::size_t rows, std::size_t columns, CUstream_st* stream);
void mask_rectified(float* delta, const float* activation, std::size_t count, CUstream_st* stream);
void softmax(float* logits, std::size_t classes, const std::uint8_t* labels, std::size_t rows, float scale,
             double* losses, CUstream_st* stream);
void sgd_step(std::span<float> weights, std::span<const float> gradients, std::span<float> velocity,
              const SgdOptions& options, std::uint32_t* not_finite, CUstream_st* stream);
void look(std::span<const float> values, std::uint32_t* not_finite, CUstream_st* stream);
void subtract(std::span<const float> a, std::span<const float> b, std::span<float> out, CUstream_st* stream);
void block_momentum_step(std::span<const float> movement, std::span<float> momentum, std::span<float> model,
                         std::span<float> base, float decay, CUstream_st* stream);

}  // namespace gradwire::trainer::kernels
