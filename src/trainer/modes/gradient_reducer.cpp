#include "trainer/modes/gradient_reducer.hpp"

#include <utility>
#include <vector>

namespace gradwire::trainer {
namespace {

constexpr std::size_t kOverlapBucketBytes = std::size_t{1} << 20U;

}  // namespace

std::size_t bucket_bytes_in_use(const TrainOptions& options) {
  if (options.bucket_bytes != 0) return options.bucket_bytes;
  return options.overlap ? kOverlapBucketBytes : ReducerOptions{}.bucket_bytes;
}

Reducer make_reducer(Communicator& comm, const ModeContext& context, std::span<float> loss,
                     std::span<float> arena, bool overlap) {
  std::vector<NamedTensor> tensors;
  const Compute& compute = context.model.compute();
  if (!loss.empty()) tensors.push_back({"loss", compute.tensor(loss), compute.stream()});
  for (const auto& parameter : context.model.parameters()) {
    const auto values = arena.subspan(parameter.offset, parameter.count);
    tensors.push_back({parameter.name, compute.tensor(values), compute.stream()});
  }
  ReducerOptions options;
  // Checks the name even when a warm start begins with another.
  options.codec = context.options.codec;
  options.algorithm = context.options.algorithm;
  options.error_feedback = context.options.error_feedback;
  options.overlap = overlap;
  options.bucket_bytes = bucket_bytes_in_use(context.options);
  return {comm, std::move(tensors), options};
}

void wait_for_gradients(Reducer& reducer, std::uint64_t step) {
  try {
    reducer.wait();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::non_finite) throw;
    throw diverged("a gradient became NaN or infinite", step);
  }
}

std::uint64_t wire_bytes_of(const Reducer& reducer) {
  std::uint64_t sum = 0;
  for (const auto& [codec, bytes] : reducer.metrics().wire_bytes) sum += bytes;
  return sum;
}

}  // namespace gradwire::trainer
