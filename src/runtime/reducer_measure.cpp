#include <cmath>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "compress/convert.hpp"
#include "runtime/reducer_impl.hpp"

namespace gradwire {
namespace {

double squared_norm(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += double{value} * value;
  return sum;
}

/// What the tensor's stream writes into it.
void append_float32(const NamedTensor& named, std::vector<float>& to) {
  const Tensor& tensor = named.tensor;
  const std::size_t begin = to.size();
  to.resize(begin + tensor.count);
  const void* elements = tensor.data;
  std::vector<std::byte> fetched;
  if (!tensor.device.is_host()) {
    fetched.resize(tensor.bytes());
    runtime::copy_and_wait(tensor.device, named.stream, fetched.data(), tensor.data, fetched.size());
    elements = fetched.data();
  }
  compress::to_float32(tensor.dtype, elements, to.data() + begin, tensor.count);
}

}  // namespace

void Reducer::Impl::collect_gradient(const ReducerBucket& bucket) {
  for (const std::size_t index : bucket.slots) append_float32(slots_[index].named, measured_);
}

/// What came out against what an uncompressed exchange would have given.
void Reducer::Impl::measure() {
  std::vector<float> gradients = std::exchange(measured_, {});
  const double gradient = squared_norm(gradients);
  double residual = 0;
  std::vector<float> result;
  FetchedResidual fetched;
  for (const ReducerBucket& bucket : buckets_) {
    for (const std::size_t index : bucket.slots) {
      residual += squared_norm(slots_[index].residual.read(fetched));
      append_float32(slots_[index].named, result);
    }
  }
  communicator_.allreduce(std::span<float>(gradients), {.average = options_.average});
  const double mean = squared_norm(gradients);
  metrics_.residual_over_gradient = gradient > 0 ? std::sqrt(residual / gradient) : 0;
  metrics_.result_over_mean = mean > 0 ? std::sqrt(squared_norm(result) / mean) : 0;
}

void Reducer::Impl::measure_next_step() {
  require_idle();
  measure_next_ = true;
}

}  // namespace gradwire
