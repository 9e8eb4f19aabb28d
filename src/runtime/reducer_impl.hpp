#pragma once

#include <cstdint>
#include <exception>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/aligned_vector.hpp"
#include "gradwire/communicator.hpp"
#include "gradwire/reducer.hpp"
#include "runtime/placed_floats.hpp"

namespace gradwire {

/// On the host, wherever the residual itself is.
using FetchedResidual = base::AlignedVector<float>;

/// A gradient with what error feedback keeps of it, in the same place.
struct ReducerSlot {
  NamedTensor named;
  std::string label;               ///< for messages
  bool raw = false;                ///< too small to be worth encoding
  runtime::PlacedFloats residual;  ///< as of the last finished step; empty for raw tensors
  runtime::PlacedFloats next;      ///< what the running step writes; empty when not transactional
  std::size_t bucket = 0;
  bool ready = false;

  /// Zeros where the gradient is.
  [[nodiscard]] runtime::PlacedFloats make_room() const { return {named.tensor.count, named.tensor.device}; }
};

struct ReducerBucket {
  std::vector<std::size_t> slots;
  Plan plan;
  Work work;
  std::map<std::string, std::uint64_t> wire_bytes{};  ///< by codec, of each run
  std::size_t missing = 0;                            ///< slots not ready yet
  bool started = false;
};

/// What follows from a codec, apart from what is in use: memory may be short half way.
struct ReducerPlans {
  struct Rooms {
    runtime::PlacedFloats residual;
    runtime::PlacedFloats next;
  };
  struct Planned {
    Plan plan;
    std::map<std::string, std::uint64_t> wire_bytes;
  };
  bool feedback = false;
  std::vector<Rooms> rooms;      ///< of every slot; empty where it needs none or has one
  std::vector<Planned> buckets;  ///< every one
};

class Reducer::Impl {
 public:
  Impl(Communicator communicator, std::vector<NamedTensor> tensors, ReducerOptions options);

  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void ready(int index);
  void wait();
  void set_codec(const std::string& codec);
  void rescale_residuals(float factor);
  void measure_next_step();
  [[nodiscard]] std::span<const float> residual(const std::string& name) const;

  [[nodiscard]] std::string save_state() const;
  [[nodiscard]] std::string save_collapsed_state();
  void load_state(const std::string& state);

  std::uint64_t step_ = 0;
  ReducerMetrics metrics_;

 private:
  [[nodiscard]] std::uint32_t tag_of(const ReducerBucket& bucket) const;
  [[nodiscard]] std::exception_ptr finish_buckets();
  void make_buckets();
  [[nodiscard]] ReducerPlans make_plans(const std::string& codec);
  void use(ReducerPlans plans) noexcept;
  void check_device_memory(const ReducerBucket& bucket) const;
  void launch_full_buckets();
  void begin_next_step();
  void collect_gradient(const ReducerBucket& bucket);
  void measure();
  void require_idle() const;
  [[nodiscard]] std::string write_state(bool collapsed, std::span<const FetchedResidual> residuals) const;

  /// For what all ranks do. What fails on this one alone the others would wait for, or take its next
  /// operation for it: the communicator ends.
  template <typename Action>
  void or_abort(const Action& action) {
    try {
      action();
    } catch (...) {
      communicator_.abort();
      throw;
    }
  }

  Communicator communicator_;
  ReducerOptions options_;
  std::vector<ReducerSlot> slots_;
  std::map<std::string, std::size_t> by_name_;
  std::vector<ReducerBucket> buckets_;
  std::size_t next_bucket_ = 0;
  bool measure_next_ = false;
  bool feedback_ = false;        ///< the codec loses something and the loss is kept
  std::vector<float> measured_;  ///< the gradients of a measured step, bucket by bucket
};

}  // namespace gradwire
