#include "trainer/device/model_kernels.hpp"

#include <cuda_runtime.h>

#include <cmath>

#include "trainer/device/check_cuda.hpp"

namespace gradwire::trainer::kernels {
namespace {

constexpr unsigned kLanes = 32;
constexpr unsigned kThreads = 256;
constexpr unsigned kAllLanes = 0xffffffffU;

__device__ __forceinline__ std::size_t thread_index() {
  return std::size_t{blockIdx.x} * kThreads + threadIdx.x;
}

/// Runs `work` for each index below `count`: a struct of plain values with a __device__ operator().
template <class Work>
__global__ void __launch_bounds__(kThreads) each_kernel(Work work, std::size_t count) {
  const std::size_t i = thread_index();
  if (i < count) work(i);
}

template <bool kRectify>
struct AddBias {
  float* values;
  const float* bias;
  std::size_t columns;

  __device__ __forceinline__ void operator()(std::size_t i) const {
    const float sum = values[i] + bias[i % columns];
    values[i] = kRectify && sum < 0.0F ? 0.0F : sum;
  }
};

/// A column for each thread, whose rows are added in their order.
struct SumRows {
  const float* values;
  float* sums;
  std::size_t rows;
  std::size_t columns;

  __device__ __forceinline__ void operator()(std::size_t column) const {
    float sum = 0.0F;
    for (std::size_t row = 0; row < rows; ++row) sum += values[row * columns + column];
    sums[column] = sum;
  }
};

struct MaskRectified {
  float* delta;
  const float* activation;

  __device__ __forceinline__ void operator()(std::size_t i) const {
    if (!(activation[i] > 0.0F)) delta[i] = 0.0F;
  }
};

struct SgdStep {
  float* weights;
  const float* gradients;
  float* velocity;
  float rate;
  float momentum;
  float decay;
  std::uint32_t* not_finite;

  __device__ __forceinline__ void operator()(std::size_t i) const {
    if (!std::isfinite(gradients[i])) *not_finite = 1;
    const float next = momentum * velocity[i] + (gradients[i] + decay * weights[i]);
    velocity[i] = next;
    weights[i] -= rate * next;
  }
};

struct Look {
  const float* values;
  std::uint32_t* not_finite;

  __device__ __forceinline__ void operator()(std::size_t i) const {
    if (!std::isfinite(values[i])) *not_finite = 1;
  }
};

struct Subtract {
  const float* a;
  const float* b;
  float* out;

  __device__ __forceinline__ void operator()(std::size_t i) const { out[i] = a[i] - b[i]; }
};

struct BlockMomentumStep {
  const float* movement;
  float* momentum;
  float* model;
  float* base;
  float decay;

  __device__ __forceinline__ void operator()(std::size_t i) const {
    const float next = decay * momentum[i] + movement[i];
    momentum[i] = next;
    const float moved = model[i] + next;
    model[i] = moved;
    base[i] = moved + decay * next;
  }
};

__device__ __forceinline__ float largest_of_lanes(float value) {
  for (unsigned distance = kLanes / 2; distance > 0; distance /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  return value;
}

__device__ __forceinline__ float sum_of_lanes(float value) {
  for (unsigned distance = kLanes / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, distance);
  }
  return value;
}

/// A row for each warp, whose lanes take a column in turn. What a lane writes no other one reads.
__global__ void __launch_bounds__(kThreads)
    softmax_kernel(float* logits, std::size_t classes, const std::uint8_t* labels, std::size_t rows,
                   float scale, double* losses) {
  const std::size_t row = thread_index() / kLanes;
  if (row >= rows) return;
  const unsigned lane = threadIdx.x % kLanes;
  float* const values = logits + row * classes;
  const std::size_t label = labels[row];

  float largest = -INFINITY;
  for (std::size_t i = lane; i < classes; i += kLanes) largest = fmaxf(largest, values[i]);
  largest = largest_of_lanes(largest);

  float at_label = 0.0F;
  float sum = 0.0F;
  for (std::size_t i = lane; i < classes; i += kLanes) {
    const float below = values[i] - largest;
    if (i == label) at_label = below;
    // A NaN, which fmaxf() passes over, goes on in the sum.
    const float power = expf(below);
    values[i] = power;
    sum += power;
  }
  sum = sum_of_lanes(sum);

  const float factor = scale / sum;
  for (std::size_t i = lane; i < classes; i += kLanes) {
    const float share = values[i] * factor;
    values[i] = i == label ? share - scale : share;
  }
  if (lane == label % kLanes) losses[row] = static_cast<double>(logf(sum)) - static_cast<double>(at_label);
}

template <class... Parameters>
void load_kernel(void (*kernel)(Parameters...)) {
  cudaFuncAttributes attributes{};
  check_cuda(cudaFuncGetAttributes(&attributes, kernel), "load a kernel of the model");
}

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), std::size_t threads, CUstream_st* stream,
            const Arguments&... arguments) {
  if (threads == 0) return;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>((threads + kThreads - 1) / kThreads));
  config.blockDim = dim3(kThreads);
  config.stream = stream;
  check_cuda(cudaLaunchKernelEx(&config, kernel, arguments...), "start a kernel of the model");
}

template <class Work>
void each(const Work& work, std::size_t count, CUstream_st* stream) {
  launch(each_kernel<Work>, count, stream, work, count);
}

}  // namespace

std::span<const int> built_for() noexcept {
  static constexpr int kBuiltFor[] = {__CUDA_ARCH_LIST__};
  return kBuiltFor;
}

void load() {
  load_kernel(each_kernel<AddBias<false>>);
  load_kernel(each_kernel<AddBias<true>>);
  load_kernel(each_kernel<SumRows>);
  load_kernel(each_kernel<MaskRectified>);
  load_kernel(each_kernel<SgdStep>);
  load_kernel(each_kernel<Look>);
  load_kernel(each_kernel<Subtract>);
  load_kernel(each_kernel<BlockMomentumStep>);
  load_kernel(softmax_kernel);
}

void add_bias(float* values, const float* bias, std::size_t rows, std::size_t columns, bool rectify,
              CUstream_st* stream) {
  if (rectify) {
    each(AddBias<true>{values, bias, columns}, rows * columns, stream);
  } else {
    each(AddBias<false>{values, bias, columns}, rows * columns, stream);
  }
}

void sum_rows(const float* values, float* sums, std::size_t rows, std::size_t columns, CUstream_st* stream) {
  each(SumRows{values, sums, rows, columns}, columns, stream);
}

void mask_rectified(float* delta, const float* activation, std::size_t count, CUstream_st* stream) {
  each(MaskRectified{delta, activation}, count, stream);
}

void softmax(float* logits, std::size_t classes, const std::uint8_t* labels, std::size_t rows, float scale,
             double* losses, CUstream_st* stream) {
  launch(softmax_kernel, rows * kLanes, stream, logits, classes, labels, rows, scale, losses);
}

void sgd_step(std::span<float> weights, std::span<const float> gradients, std::span<float> velocity,
              const SgdOptions& options, std::uint32_t* not_finite, CUstream_st* stream) {
  each(SgdStep{weights.data(), gradients.data(), velocity.data(), options.learning_rate, options.momentum,
               options.weight_decay, not_finite},
       weights.size(), stream);
}

void look(std::span<const float> values, std::uint32_t* not_finite, CUstream_st* stream) {
  each(Look{values.data(), not_finite}, values.size(), stream);
}

void subtract(std::span<const float> a, std::span<const float> b, std::span<float> out, CUstream_st* stream) {
  each(Subtract{a.data(), b.data(), out.data()}, out.size(), stream);
}

void block_momentum_step(std::span<const float> movement, std::span<float> momentum, std::span<float> model,
                         std::span<float> base, float decay, CUstream_st* stream) {
  each(BlockMomentumStep{movement.data(), momentum.data(), model.data(), base.data(), decay}, model.size(),
       stream);
}

}  // namespace gradwire::trainer::kernels
