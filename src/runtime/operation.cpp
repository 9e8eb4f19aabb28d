#include "runtime/operation.hpp"

#include <algorithm>
#include <functional>
#include <optional>
#include <string_view>

#include <fmt/format.h>

#include "base/fnv1a.hpp"
#include "collectives/device_arithmetic.hpp"
#include "collectives/host_arithmetic.hpp"
#include "collectives/resolve.hpp"
#include "gradwire/error.hpp"

namespace gradwire::runtime {
namespace {

using collectives::Collective;

const std::string& codec_of(const OperationTensor& tensor, const OperationOptions& options,
                            const std::string& codec_override) {
  return codec_in_use(tensor.codec.empty() ? options.codec : tensor.codec, codec_override);
}

bool overlap(std::span<const std::byte> one, std::span<const std::byte> other) noexcept {
  return !one.empty() && !other.empty() && std::less<>()(one.data(), other.data() + other.size()) &&
         std::less<>()(other.data(), one.data() + one.size());
}

/// Whether several ranks share one of several hosts.
bool are_shared(std::span<const int> hosts) noexcept {
  const int count = hosts.empty() ? 0 : *std::ranges::max_element(hosts) + 1;
  return count > 1 && static_cast<std::size_t>(count) < hosts.size();
}

std::string name_of(Device device) {
  return device.is_host() ? "the host" : fmt::format("CUDA device {}", device.number());
}

void check_tensors(std::span<const OperationTensor> tensors) {
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const OperationTensor& tensor = tensors[i];
    if (tensor.tensor.data == nullptr && tensor.tensor.count > 0) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("tensor {} has {} elements and no memory", i, tensor.tensor.count),
                  "pass the address of its elements");
    }
    const auto fits = [&](std::span<float> residual) {
      return residual.empty() || residual.size() == tensor.tensor.count;
    };
    if (tensor.residual.empty() && !tensor.next_residual.empty()) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("tensor {} has a next_residual and no residual", i),
                  "pass both, or the residual alone to have it replaced in place");
    }
    if (!fits(tensor.residual) || !fits(tensor.next_residual)) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("tensor {} has {} elements but a residual of {} (next: {})", i,
                              tensor.tensor.count, tensor.residual.size(), tensor.next_residual.size()),
                  "a residual has one float32 for each element, or is empty");
    }
    const std::span elements(static_cast<const std::byte*>(tensor.tensor.data), tensor.tensor.bytes());
    if (overlap(elements, std::as_bytes(tensor.residual)) ||
        overlap(elements, std::as_bytes(tensor.next_residual))) {
      throw Error(ErrorCode::invalid_argument, fmt::format("tensor {} and its residual share memory", i),
                  "give residuals memory of their own");
    }
  }
}

/// On the current device.
void check_device_memory(std::span<const OperationTensor> tensors) {
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const OperationTensor& tensor = tensors[i];
    if (tensor.tensor.count == 0) continue;
    compress::require_device_memory(tensor.tensor.data, fmt::format("tensor {}", i));
    for (const std::span<float> residual : {tensor.residual, tensor.next_residual}) {
      if (residual.empty()) continue;
      compress::require_device_memory(residual.data(), fmt::format("a residual of tensor {}", i));
    }
  }
}

}  // namespace

const std::string& codec_in_use(const std::string& asked, const std::string& codec_override) noexcept {
  return codec_override.empty() || asked == "none" ? asked : codec_override;
}

std::uint64_t chain_hash(std::uint64_t order_hash, std::uint64_t fingerprint) noexcept {
  return (order_hash ^ fingerprint) * 1099511628211ULL + 0x9E3779B97F4A7C15ULL;
}

std::string describe_operation(Collective collective, std::span<const OperationTensor> tensors,
                               const OperationOptions& options, std::span<const int> hosts,
                               const std::string& codec_override) {
  std::string text = fmt::format("{} {}", to_string(collective), options.algorithm);
  // Ranks that disagree on who is where would wait for each other's frames.
  if (options.algorithm.starts_with("hierarchical") || (options.algorithm == "auto" && are_shared(hosts))) {
    const std::string_view bytes(reinterpret_cast<const char*>(hosts.data()), hosts.size_bytes());
    text += fmt::format(" on hosts {:016x}", base::fnv1a(bytes));
  }
  if (options.average) text += " average";
  if (options.root != 0) text += fmt::format(" root={}", options.root);
  if (options.on_non_finite == OnNonFinite::propagate) text += " propagate";
  for (const OperationTensor& tensor : tensors) {
    text += fmt::format(" {}x{}:{}", tensor.tensor.count, to_string(tensor.tensor.dtype),
                        codec_of(tensor, options, codec_override));
  }
  return text;
}

std::vector<CodecGroup> group_by_codec(std::span<const OperationTensor> tensors,
                                       const OperationOptions& options, const std::string& codec_override) {
  std::vector<CodecGroup> groups;
  for (std::uint32_t i = 0; i < tensors.size(); ++i) {
    const std::string& codec = codec_of(tensors[i], options, codec_override);
    auto group = std::ranges::find(groups, codec, &CodecGroup::codec);
    if (group == groups.end()) group = groups.insert(groups.end(), {codec, {}});
    group->tensors.push_back(i);
  }
  return groups;
}

collectives::Buffer bind_buffer(const OperationTensor& tensor) {
  float* residual = tensor.residual.empty() ? nullptr : tensor.residual.data();
  return {.tensor = tensor.tensor,
          .work = static_cast<float*>(tensor.tensor.data),
          .residual = residual,
          .next_residual = tensor.next_residual.empty() ? residual : tensor.next_residual.data()};
}

std::pair<std::size_t, std::size_t> owned_range(const collectives::Layout& layout, int rank,
                                                std::uint32_t tensor) {
  std::pair<std::size_t, std::size_t> range{0, 0};
  for (const auto& segment : layout.segments) {
    if (segment.chunk != static_cast<std::uint32_t>(rank)) continue;
    for (auto p = segment.piece_begin; p < segment.piece_end; ++p) {
      const auto& piece = layout.pieces[p];
      if (piece.tensor != tensor) continue;
      if (range.first == range.second) range = {piece.begin, piece.begin};
      range.second = piece.begin + piece.count;
    }
  }
  return range;
}

void check_root(int root, int ranks) {
  if (root >= 0 && root < ranks) return;
  throw Error(ErrorCode::invalid_argument, fmt::format("root {} of {} ranks", root, ranks),
              "choose a root from 0 to world size - 1");
}

/// Where the operation's tensors are; its device is the current one.
std::unique_ptr<collectives::CellArithmetic> make_arithmetic(
    const Operation& operation, bool average, const collectives::Resolved& resolved,
    const std::shared_ptr<const compress::Codec>& codec, int rank) {
  using collectives::FrameMemory;
  const auto program = [&](FrameMemory frames) {
    return collectives::compile(resolved.schedule, resolved.layout, *codec, rank, frames);
  };
  if (operation.device.is_host()) {
    return std::make_unique<collectives::HostArithmetic>(average, program(FrameMemory::in_tensors),
                                                         resolved.layout, codec);
  }
  return std::make_unique<collectives::DeviceArithmetic>(average, program(FrameMemory::apart),
                                                         resolved.layout, codec, operation.device.number(),
                                                         operation.ready);
}

Device check_place(std::span<const OperationTensor> tensors) {
  check_tensors(tensors);
  const Device first = tensors.empty() ? Device() : tensors.front().tensor.device;
  for (const OperationTensor& tensor : tensors) {
    if (tensor.tensor.device == first) continue;
    throw Error(ErrorCode::invalid_argument,
                fmt::format("an operation has tensors on {} and on {}", name_of(first),
                            name_of(tensor.tensor.device)),
                "make an operation for each place");
  }
  if (!first.is_host()) {
    const compress::UseDevice here(first.number());
    check_device_memory(tensors);
  }
  return first;
}

std::shared_ptr<Operation> build_operation(Collective collective, std::span<const OperationTensor> tensors,
                                           const OperationOptions& options, const Place& place,
                                           const std::string& codec_override) {
  const Device device = check_place(tensors);
  check_root(options.root, place.ranks);
  std::optional<compress::UseDevice> here;
  auto operation = std::make_shared<Operation>();
  if (!device.is_host()) {
    here.emplace(device.number());
    compress::require_device("an operation on a device");
    compress::require_device_stream(options.stream);
    operation->ready = std::make_shared<compress::Event>();
    // CUDA before 12.8 tells here what device a stream is of.
    operation->ready->record(options.stream);
  }
  operation->device = device;
  operation->stream = options.stream;
  operation->collective = collective;
  operation->on_non_finite = options.on_non_finite;
  operation->description = describe_operation(collective, tensors, options, place.hosts, codec_override);
  operation->set_tag(options.tag);

  std::uint32_t chunk_base = 0;
  for (auto& [spec, indices] : group_by_codec(tensors, options, codec_override)) {
    const auto codec = compress::make_codec(spec);
    std::vector<std::size_t> counts;
    counts.reserve(indices.size());
    for (const auto i : indices) counts.push_back(tensors[i].tensor.count);
    auto resolved =
        collectives::resolve(collective, options.algorithm, *codec, counts, place.ranks, options.root,
                             place.hosts, {.begin = place.rank, .end = place.rank + 1});
    const bool average =
        options.average && (collective == Collective::allreduce || collective == Collective::reduce_scatter);
    operation->parts.push_back(Part{.algorithm = resolved.algorithm,
                                    .executor = collectives::HostExecutor(
                                        make_arithmetic(*operation, average, resolved, codec, place.rank)),
                                    .tensors = std::move(indices),
                                    .buffers = {},
                                    .chunk_base = chunk_base});
    chunk_base += static_cast<std::uint32_t>(resolved.schedule.chunk_count);
  }

  operation->scratch.resize(tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const Tensor& tensor = tensors[i].tensor;
    if (tensor.dtype != DType::float32) operation->scratch[i] = PlacedFloats(tensor.count, device);
  }
  for (Part& part : operation->parts) {
    part.buffers.resize(part.tensors.size());
    operation->wire_bytes += part.executor.program().sent.wire_bytes();
  }
  operation->bind(tensors);
  return operation;
}

void Operation::bind(std::span<const OperationTensor> replacement) {
  tensors.assign(replacement.begin(), replacement.end());
  for (Part& part : parts) {
    for (std::size_t i = 0; i < part.tensors.size(); ++i) {
      const std::size_t index = part.tensors[i];
      part.buffers[i] = bind_buffer(tensors[index]);
      if (tensors[index].tensor.dtype != DType::float32)
        part.buffers[i].work = scratch[index].values().data();
    }
  }
}

void Operation::set_tag(std::uint32_t new_tag) noexcept {
  tag = new_tag;
  fingerprint = chain_hash(base::fnv1a(description), tag);
}

std::string Operation::name() const {
  constexpr std::size_t kReadable = 120;
  return fmt::format("operation {} ({}{}{})", number, description.substr(0, kReadable),
                     description.size() > kReadable ? "..." : "",
                     tag == 0 ? std::string() : fmt::format(", tag {}", tag));
}

void Operation::note_stream() const {
  if (device.is_host()) return;
  const compress::UseDevice here(device.number());
  ready->record(stream);
}

void Operation::start(wire::Header prototype) {
  prototype.operation = number;
  prototype.order_hash = order_hash;
  settled = false;
  for (Part& part : parts) part.executor.start(part.buffers, prototype, part.chunk_base);
}

bool Operation::finish() {
  const auto finished = [this] {
    return std::all_of(parts.begin(), parts.end(), [](Part& part) { return part.executor.finished(); });
  };
  if (!finished()) return false;
  if (std::exchange(settled, true)) return true;
  const bool found =
      std::any_of(parts.begin(), parts.end(), [](const Part& part) { return part.executor.non_finite(); });
  non_finite.store(found);
  if (!found) return true;
  for (Part& part : parts) part.executor.void_results();
  return finished();
}

bool Operation::awaits_device() noexcept {
  if (device.is_host()) return false;
  // All of them are asked: each forgets its answer.
  return std::count_if(parts.begin(), parts.end(), [](Part& part) { return part.executor.has_said_no(); }) >
         0;
}

void Operation::abandon() noexcept {
  for (Part& part : parts) part.executor.abandon();
}

}  // namespace gradwire::runtime
