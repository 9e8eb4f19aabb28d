#include <utility>

#include "base/checksum.hpp"
#include "compress/codec.hpp"
#include "runtime/reducer_impl.hpp"

namespace gradwire {

ReducerPlans Reducer::Impl::make_plans(const std::string& codec) {
  ReducerPlans made;
  made.feedback = options_.error_feedback && compress::make_codec(communicator_.codec_in_use(codec))->lossy();
  made.rooms.resize(slots_.size());
  const auto room = [](const ReducerSlot& slot, const runtime::PlacedFloats& present,
                       runtime::PlacedFloats& fresh) {
    if (!present.empty()) return present.values();
    fresh = slot.make_room();
    return fresh.values();
  };
  OperationOptions operation{.codec = codec,
                             .algorithm = options_.algorithm,
                             .average = options_.average,
                             .on_non_finite = options_.on_non_finite};
  for (const ReducerBucket& bucket : buckets_) {
    std::vector<OperationTensor> tensors;
    for (const std::size_t index : bucket.slots) {
      const ReducerSlot& slot = slots_[index];
      OperationTensor tensor{.tensor = slot.named.tensor, .residual = {}, .next_residual = {}, .codec = {}};
      if (slot.raw) {
        tensor.codec = "none";
      } else if (made.feedback) {
        tensor.residual = room(slot, slot.residual, made.rooms[index].residual);
        if (options_.transactional) {
          tensor.next_residual = room(slot, slot.next, made.rooms[index].next);
        }
      }
      tensors.push_back(tensor);
    }
    operation.tag = tag_of(bucket);
    operation.stream = slots_[bucket.slots.front()].named.stream;
    Plan plan = communicator_.plan_allreduce(tensors, operation);
    auto wire_bytes = plan.wire_bytes_by_codec();
    made.buckets.push_back({std::move(plan), std::move(wire_bytes)});
  }
  return made;
}

void Reducer::Impl::use(ReducerPlans plans) noexcept {
  feedback_ = plans.feedback;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    ReducerPlans::Rooms& rooms = plans.rooms[i];
    if (!rooms.residual.empty()) slots_[i].residual = std::move(rooms.residual);
    if (!rooms.next.empty()) slots_[i].next = std::move(rooms.next);
  }
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    buckets_[i].plan = std::move(plans.buckets[i].plan);
    buckets_[i].wire_bytes = std::move(plans.buckets[i].wire_bytes);
  }
}

/// Ranks that list equal tensors in another order must not add them up.
std::uint32_t Reducer::Impl::tag_of(const ReducerBucket& bucket) const {
  std::uint32_t tag = 0;
  for (const std::size_t index : bucket.slots) {
    const std::string& name = slots_[index].named.name;
    tag = base::crc32c(std::as_bytes(std::span(name.c_str(), name.size() + 1)), tag);
  }
  return tag;
}

}  // namespace gradwire
