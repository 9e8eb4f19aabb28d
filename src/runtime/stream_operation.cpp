#include "runtime/stream_operation.hpp"

#include <algorithm>
#include <memory>

#include <fmt/format.h>

#include "collectives/resolve.hpp"
#include "compress/codec.hpp"
#include "compress/cuda/device_codec.hpp"
#include "gradwire/error.hpp"

namespace gradwire::runtime {
namespace {

using collectives::Collective;

/// The device is the current one.
void check_on_device(std::span<const OperationTensor> tensors, int device, compress::Stream stream) {
  const Device place = check_place(tensors);
  if (!tensors.empty() && place != Device::cuda(device)) {
    throw Error(ErrorCode::invalid_argument,
                place.is_host()
                    ? "an operation over NCCL has tensors on the host"
                    : fmt::format("an operation over NCCL on CUDA device {} has tensors on device {}", device,
                                  place.number()),
                fmt::format("give tensors of device {}, and say so: Device::cuda({})", device, device));
  }
  for (const OperationTensor& tensor : tensors) {
    if (tensor.tensor.dtype == DType::float32) continue;
    throw Error(ErrorCode::unsupported,
                fmt::format("an operation over NCCL has a tensor of {}", to_string(tensor.tensor.dtype)),
                "use float32, or a Communicator");
  }
  compress::require_device_stream(stream);
}

}  // namespace

StreamOperation::StreamOperation(Collective collective, std::span<const OperationTensor> tensors,
                                 const OperationOptions& options, const Place& place,
                                 const std::string& codec_override, transport::StreamLinks& links)
    : links_(links),
      collective_(collective),
      description_(describe_operation(collective, tensors, options, place.hosts, codec_override)),
      on_non_finite_(options.on_non_finite),
      average_(options.average &&
               (collective == Collective::allreduce || collective == Collective::reduce_scatter)),
      stream_(options.stream),
      tensors_(tensors.begin(), tensors.end()) {
  check_on_device(tensors, links.device(), options.stream);
  check_root(options.root, place.ranks);
  for (CodecGroup& group : group_by_codec(tensors, options, codec_override)) {
    add_part(std::move(group), collective, options, place);
  }
  bind();
  const compress::OwnStream stream;
  flag_.clear_on(stream.get());
  flag_.fetch_on(stream.get());
  stream.wait();
}

void StreamOperation::add_part(CodecGroup group, Collective collective, const OperationOptions& options,
                               const Place& place) {
  const auto codec = compress::make_codec(group.codec);
  std::vector<std::size_t> counts;
  for (const auto i : group.tensors) counts.push_back(tensors_[i].tensor.count);
  StreamPart& part = parts_.emplace_back();
  part.tensors = std::move(group.tensors);
  part.buffers.resize(part.tensors.size());
  part.ran.resize(part.tensors.size());
  part.algorithm =
      collectives::resolve_algorithm(collective, options.algorithm, *codec, counts, place.ranks, place.hosts);
  part.payload_bytes = collectives::total_payload(counts, *codec);
  if (codec->identity() && collective == Collective::allreduce) return;
  const auto schedule = collectives::make_schedule(collective, part.algorithm, place.ranks, options.root,
                                                   place.hosts, {.begin = place.rank, .end = place.rank + 1});
  auto layout = collectives::lay_out_for_stream(counts, *codec, schedule.chunk_count);
  auto program = collectives::compile_for_stream(schedule, layout, *codec, place.rank);
  part.executor.emplace(average_, std::move(program), std::move(layout), *codec, links_);
}

void StreamOperation::bind() {
  for (StreamPart& part : parts_) {
    for (std::size_t i = 0; i < part.tensors.size(); ++i) {
      part.buffers[i] = bind_buffer(tensors_[part.tensors[i]]);
    }
  }
}

void StreamOperation::enqueue() {
  has_begun_ = false;
  try {
    for (StreamPart& part : parts_) put(part);
    end();
  } catch (...) {
    // What was put there before the failure uses the tensors until then.
    if (has_begun_) ended_.record(stream_);
    throw;
  }
}

void StreamOperation::put(StreamPart& part) {
  std::ranges::copy(part.buffers, part.ran.begin());
  if (part.executor) {
    part.executor->enqueue(part.buffers, stream_, flag_, has_begun_);
  } else {
    reduce_plainly(part);
  }
}

/// A residual goes into the sum, and is zero then.
void StreamOperation::reduce_plainly(const StreamPart& part) {
  for (const collectives::Buffer& buffer : part.buffers) {
    if (buffer.residual == nullptr) continue;
    has_begun_ = true;
    const collectives::Piece all{.count = buffer.tensor.count};
    compress::finish_sum_on_device(collectives::sum_of(buffer, all, 1.0F), buffer.work, false,
                                   {.stream = stream_});
  }
  links_.begin_group();
  for (const collectives::Buffer& buffer : part.buffers) {
    if (buffer.tensor.count == 0) continue;
    links_.all_reduce(buffer.work, buffer.tensor.count, average_, stream_);
    has_begun_ = true;
  }
  links_.end_group();
}

void StreamOperation::void_results() {
  for (const StreamPart& part : parts_) nan_.void_on(stream_, part.ran);
  flag_.clear_on(stream_);
  end();
}

void StreamOperation::end() {
  flag_.fetch_on(stream_);
  ended_.record(stream_);
}

void StreamOperation::swap_residuals() {
  for (auto& tensor : tensors_) {
    if (!tensor.next_residual.empty()) std::swap(tensor.residual, tensor.next_residual);
  }
  bind();
}

}  // namespace gradwire::runtime
