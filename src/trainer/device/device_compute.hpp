#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "trainer/compute.hpp"

namespace gradwire::trainer {

/// On a CUDA device: what is put on one stream there, apart from what puts it there, which is CUDA's or
/// emulated. Labels, losses and the word that tells of gradients that are not finite cross in pinned memory.
class DeviceCompute : public Compute {
 public:
  [[nodiscard]] Device device() const noexcept final { return device_; }

  [[nodiscard]] float* allocate(std::size_t count) final;
  void release(float* values, std::size_t count) noexcept final;
  [[nodiscard]] float* allocate_on_host(std::size_t count) final;
  void release_on_host(float* values, std::size_t count) noexcept final;

  void begin_upload(std::span<const float> host, std::span<float> to) final;
  void begin_download(std::span<const float> from, std::span<float> host) final;
  void copy(std::span<const float> from, std::span<float> to) final;
  void clear(std::span<float> values) final;

  double softmax_cross_entropy(std::span<float> logits, std::size_t classes,
                               std::span<const std::uint8_t> labels, float scale) final;
  [[nodiscard]] bool sgd_step(std::span<float> weights, std::span<const float> gradients,
                              std::span<float> velocity, const SgdOptions& options) final;
  [[nodiscard]] bool is_finite(std::span<const float> values) final;

 protected:
  /// Memory of the device or, pinned, of the host.
  enum class Place { device, pinned };

  explicit DeviceCompute(int number) : device_(Device::cuda(number)) {}

  [[nodiscard]] virtual std::byte* allocate_bytes(Place place, std::size_t bytes) = 0;
  /// Waits for what is under way.
  virtual void release_bytes(Place place, std::byte* memory) noexcept = 0;
  // Put on the stream.

  virtual void copy_bytes(void* to, const void* from, std::size_t bytes) = 0;
  /// Of the device, to 0.
  virtual void clear_bytes(void* memory, std::size_t bytes) = 0;
  /// As softmax_cross_entropy(), each row's loss apart; all memory is the device's.
  virtual void put_softmax(float* logits, std::size_t classes, const std::uint8_t* labels, std::size_t rows,
                           float scale, double* losses) = 0;
  /// As sgd_step(); sets the device's word to 1 where a gradient is not finite.
  virtual void put_sgd_step(std::span<float> weights, std::span<const float> gradients,
                            std::span<float> velocity, const SgdOptions& options,
                            std::uint32_t* not_finite) = 0;
  virtual void put_look(std::span<const float> values, std::uint32_t* not_finite) = 0;

  /// Gives the memory of this class back, while the derived one can: what its destructor calls.
  void let_go() noexcept;

 private:
  /// The same bytes on both sides.
  struct Crossing {
    std::byte* device = nullptr;
    std::byte* host = nullptr;
    std::size_t bytes = 0;
  };

  /// `crossing`, grown to at least so many bytes.
  Crossing& sized(Crossing& crossing, std::size_t bytes);
  void release(Crossing& crossing) noexcept;
  [[nodiscard]] std::uint32_t* cleared_word();
  [[nodiscard]] bool was_set();

  Device device_;
  Crossing labels_;
  Crossing losses_;
  Crossing word_;
};

/// How many devices there are that a model can be trained on. Throws Error(unsupported) where there are none:
/// this build has no CUDA, there is no driver or no device, or cuBLAS is missing.
int usable_devices();
/// Throws Error(unsupported) where the device of that number, which there is, is older than the kernels.
void require_young_enough(int number);
/// On the device of that number, which there is. Throws Error: unsupported as above, system for what else
/// CUDA refuses.
std::unique_ptr<Compute> make_device_compute(int number);

}  // namespace gradwire::trainer
