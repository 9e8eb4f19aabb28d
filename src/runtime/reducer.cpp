#include "gradwire/reducer.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <utility>

#include <fmt/format.h>

#include "compress/codec.hpp"
#include "compress/cuda/device.hpp"
#include "gradwire/error.hpp"
#include "runtime/reducer_impl.hpp"

namespace gradwire {
namespace {

/// Tensors that share buckets share these. The stream says nothing on the host.
bool same_place(const NamedTensor& one, const NamedTensor& other) {
  return one.tensor.device == other.tensor.device &&
         (one.tensor.device.is_host() || one.stream == other.stream);
}

}  // namespace

Reducer::Impl::Impl(Communicator communicator, std::vector<NamedTensor> tensors, ReducerOptions options)
    : communicator_(std::move(communicator)), options_(std::move(options)) {
  for (NamedTensor& tensor : tensors) {
    if (!by_name_.emplace(tensor.name, slots_.size()).second) {
      throw Error(ErrorCode::invalid_argument, fmt::format("two tensors are named '{}'", tensor.name),
                  "residuals are kept by name: give each tensor a name of its own");
    }
    ReducerSlot slot;
    slot.label = fmt::format("tensor '{}'", tensor.name);
    if (tensor.tensor.data == nullptr && tensor.tensor.count > 0) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("{} has {} elements and no memory", slot.label, tensor.tensor.count),
                  "pass the address of its elements");
    }
    slot.raw = tensor.tensor.count < options_.raw_below;
    slot.named = std::move(tensor);
    slots_.push_back(std::move(slot));
  }
  make_buckets();
  for (const ReducerBucket& bucket : buckets_) check_device_memory(bucket);
  use(make_plans(options_.codec));
  if (options_.overlap && communicator_.world_size() > 1) communicator_.start_progress_thread();
}

void Reducer::Impl::make_buckets() {
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const std::size_t size = slots_[i].named.tensor.bytes();
    if (buckets_.empty() || bytes + size > options_.bucket_bytes ||
        !same_place(slots_[i - 1].named, slots_[i].named)) {
      buckets_.emplace_back();
      bytes = 0;
    }
    bytes += size;
    slots_[i].bucket = buckets_.size() - 1;
    buckets_.back().slots.push_back(i);
  }
  for (ReducerBucket& bucket : buckets_) bucket.missing = bucket.slots.size();
}

/// Once more before each step: what was freed since may be another device's by now, and a kernel that meets
/// it ends the process's use of CUDA.
void Reducer::Impl::check_device_memory(const ReducerBucket& bucket) const {
  const Device device = slots_[bucket.slots.front()].named.tensor.device;
  if (device.is_host()) return;
  const compress::UseDevice here(device.number());
  for (const std::size_t index : bucket.slots) {
    const ReducerSlot& slot = slots_[index];
    if (slot.named.tensor.count > 0) {
      compress::require_device_memory(slot.named.tensor.data, slot.label);
    }
  }
}

void Reducer::Impl::ready(int index) {
  if (index < 0 || static_cast<std::size_t>(index) >= slots_.size()) {
    throw Error(ErrorCode::invalid_argument, fmt::format("tensor {} of {} is ready", index, slots_.size()),
                "pass the index of a tensor that the Reducer was made with");
  }
  ReducerSlot& slot = slots_[static_cast<std::size_t>(index)];
  if (slot.ready) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("tensor '{}' became ready twice in one step", slot.named.name),
                "call ready() once for each tensor between two wait()");
  }
  slot.ready = true;
  --buckets_[slot.bucket].missing;
  launch_full_buckets();
}

/// Buckets leave in order, so that all ranks submit the same operations whatever the order of their ready().
void Reducer::Impl::launch_full_buckets() {
  while (next_bucket_ < buckets_.size() && buckets_[next_bucket_].missing == 0) {
    ReducerBucket& bucket = buckets_[next_bucket_];
    or_abort([&] {
      check_device_memory(bucket);
      if (measure_next_) collect_gradient(bucket);
      bucket.work = bucket.plan.start();
    });
    bucket.started = true;
    ++next_bucket_;
  }
}

void Reducer::Impl::wait() {
  const auto begin = std::chrono::steady_clock::now();
  const auto failure = finish_buckets();
  metrics_.exposed_seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const bool measured = std::exchange(measure_next_, false) && !failure;
  begin_next_step();
  if (failure) {
    measured_.clear();
    std::rethrow_exception(failure);
  }

  const bool non_finite = std::any_of(buckets_.begin(), buckets_.end(),
                                      [](const auto& bucket) { return bucket.plan.non_finite(); });
  if (feedback_ && options_.transactional && !non_finite) {
    for (ReducerSlot& slot : slots_) {
      if (!slot.next.empty()) std::swap(slot.residual, slot.next);
    }
    for (ReducerBucket& bucket : buckets_) bucket.plan.swap_residuals();
  }
  ++step_;
  ++metrics_.steps;
  for (const ReducerBucket& bucket : buckets_) {
    for (const auto& [codec, bytes] : bucket.wire_bytes) metrics_.wire_bytes[codec] += bytes;
  }
  if (measured) or_abort([&] { measure(); });
}

/// Launches what is left and waits for all that left; the first error, if any.
std::exception_ptr Reducer::Impl::finish_buckets() {
  std::exception_ptr failure;
  const auto attempt = [&](const auto& action) {
    try {
      action();
    } catch (...) {
      // A bucket's own outcome is the same on all ranks, and the end of the communicator comes to all.
      if (!failure) failure = std::current_exception();
    }
  };
  for (ReducerSlot& slot : slots_) {
    if (!std::exchange(slot.ready, true)) --buckets_[slot.bucket].missing;
  }
  attempt([&] { launch_full_buckets(); });
  for (ReducerBucket& bucket : buckets_) {
    // What did not leave has its reason in what is caught by now.
    if (bucket.started) attempt([&] { bucket.work.wait(); });
  }
  return failure;
}

void Reducer::Impl::begin_next_step() {
  next_bucket_ = 0;
  for (ReducerSlot& slot : slots_) slot.ready = false;
  for (ReducerBucket& bucket : buckets_) {
    bucket.missing = bucket.slots.size();
    bucket.started = false;
  }
}

/// Throws when a step is under way.
void Reducer::Impl::require_idle() const {
  const bool under_way =
      std::any_of(slots_.begin(), slots_.end(), [](const auto& slot) { return slot.ready; });
  if (under_way) {
    throw Error(ErrorCode::invalid_argument, "the Reducer was changed in the middle of a step",
                "call wait() first");
  }
}

void Reducer::Impl::set_codec(const std::string& codec) {
  require_idle();
  (void)compress::make_codec(codec);
  ReducerPlans plans = make_plans(codec);
  std::string name = codec;
  use(std::move(plans));
  options_.codec.swap(name);
}

void Reducer::Impl::rescale_residuals(float factor) {
  require_idle();
  if (!std::isfinite(factor)) {
    throw Error(ErrorCode::invalid_argument, fmt::format("residuals were to be scaled by {}", factor),
                "pass a finite factor: new world size / old world size, or new loss scale / old loss scale");
  }
  const auto scale = [factor](std::span<float> values) {
    for (float& value : values) value *= factor;
  };
  // First what may fail.
  std::vector<FetchedResidual> scaled(slots_.size());
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].named.tensor.device.is_host()) continue;
    scaled[i] = slots_[i].residual.fetch();
    scale(scaled[i]);
  }
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].named.tensor.device.is_host()) {
      scale(slots_[i].residual.values());
    } else {
      slots_[i].residual.put(scaled[i]);
    }
  }
}

std::span<const float> Reducer::Impl::residual(const std::string& name) const {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) {
    throw Error(ErrorCode::invalid_argument, fmt::format("no tensor is named '{}'", name),
                "pass a name that the Reducer was made with");
  }
  return slots_[found->second].residual.values();
}

Reducer::Reducer(Communicator communicator, std::vector<NamedTensor> tensors, const ReducerOptions& options)
    : impl_(std::make_unique<Impl>(std::move(communicator), std::move(tensors), options)) {}

/// A step that was begun and never waited for leaves buffers lent: nothing but the end of the communicator
/// gets them back.
Reducer::Impl::~Impl() {
  const bool lent = std::any_of(buckets_.begin(), buckets_.end(),
                                [](const auto& bucket) { return bucket.started && !bucket.work.done(); });
  if (lent) communicator_.abort();
}

Reducer::~Reducer() = default;
Reducer::Reducer(Reducer&&) noexcept = default;
Reducer& Reducer::operator=(Reducer&&) noexcept = default;

void Reducer::ready(int index) { impl_->ready(index); }
void Reducer::wait() { impl_->wait(); }
void Reducer::set_codec(const std::string& codec) { impl_->set_codec(codec); }
std::string Reducer::save_state() const { return impl_->save_state(); }
std::string Reducer::save_collapsed_state() { return impl_->save_collapsed_state(); }
void Reducer::load_state(const std::string& state) { impl_->load_state(state); }
void Reducer::rescale_residuals(float factor) { impl_->rescale_residuals(factor); }
std::span<const float> Reducer::residual(const std::string& name) const { return impl_->residual(name); }
std::uint64_t Reducer::step() const noexcept { return impl_->step_; }
void Reducer::measure_next_step() { impl_->measure_next_step(); }
ReducerMetrics Reducer::metrics() const { return impl_->metrics_; }
void Reducer::reset_metrics() { impl_->metrics_ = {}; }

}  // namespace gradwire
