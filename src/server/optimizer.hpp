#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/aligned_vector.hpp"

namespace gradwire::server {

/// How gradients that were added up enter a step.
struct Share {
  float factor = 1;  ///< sum * factor is what the optimizer takes for the gradient
  float weight = 1;  ///< the part of a clock that this step is: 1 in step, else 1 / live workers
};

/// What the servers make of the pushes to a shard: x is the shard's value, g the gradient sum * factor.
///
/// | spec | step |
/// |---|---|
/// | sgd:lr= | x -= lr g |
/// | momentum:lr=,mu= | v = mu v + g; x -= lr v |
/// | adagrad:lr=,eps= | h += g g; x -= lr g / (sqrt(h) + eps) (Duchi et al., 2011) |
/// | adam:lr=,beta1=,beta2=,eps= | as Kingma and Ba, 2015, with bias correction |
/// | average | x = (1 - weight) x + g: pushes are models |
/// | elastic:alpha= | x += alpha sum: pushes are differences from x (Zhang et al., 2015), each counted whole
/// |
///
/// Float32, and the same bits from the same calls. A step may be made piece by piece.
class Optimizer {
 public:
  /// What a spec asks for, with all options in the order in which the spec names them.
  struct Setup {
    std::string spec;
    std::span<const float> options;
    std::size_t count = 0;
  };

  virtual ~Optimizer() = default;

  /// What all of its options are: make_optimizer() of it gives an equal one.
  [[nodiscard]] const std::string& spec() const noexcept { return spec_; }

  /// Once per step, before its pieces.
  virtual void begin_step() {}
  /// Elements from `first` of the shard on. `sum` is as long as `value`.
  virtual void step(std::size_t first, std::span<float> value, std::span<const float> sum,
                    const Share& share) = 0;

  /// What it remembers of each element, as many arrays as it needs, each as long as the shard.
  [[nodiscard]] std::span<base::AlignedVector<float>> memory() noexcept { return memory_; }
  [[nodiscard]] std::span<const base::AlignedVector<float>> memory() const noexcept { return memory_; }
  /// Steps begun, where it remembers that.
  [[nodiscard]] virtual std::uint64_t steps() const noexcept { return 0; }
  virtual void set_steps(std::uint64_t /*steps*/) {}

 protected:
  Optimizer(const Setup& setup, std::size_t arrays)
      : memory_(arrays, base::AlignedVector<float>(setup.count)), spec_(setup.spec) {}

  std::vector<base::AlignedVector<float>> memory_;

 private:
  std::string spec_;
};

/// For a shard of `count` elements. Throws Error(invalid_argument) with the list of what is allowed.
std::unique_ptr<Optimizer> make_optimizer(std::string_view spec, std::size_t count);

}  // namespace gradwire::server
