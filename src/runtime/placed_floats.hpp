#pragma once

#include <cstddef>
#include <span>

#include "base/aligned_vector.hpp"
#include "compress/cuda/device.hpp"
#include "gradwire/tensor.hpp"

namespace gradwire::runtime {

/// Between the host and a CUDA device, after what is on that device's stream; returns when it is done.
void copy_and_wait(Device device, compress::Stream stream, void* to, const void* from, std::size_t bytes);

/// Float32 in memory of its own, on the host or on a CUDA device. The host reads and writes the latter by
/// fetch() and put(), which return when that is done and wait for no stream of the caller's.
class PlacedFloats {
 public:
  PlacedFloats() = default;
  /// Zeros. Throws Error(unsupported, invalid_argument, system) where the device has no room for them.
  PlacedFloats(std::size_t count, Device device);

  [[nodiscard]] bool empty() const noexcept { return values_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return values_.size(); }
  /// Where they are.
  [[nodiscard]] std::span<float> values() const noexcept { return values_; }

  [[nodiscard]] base::AlignedVector<float> fetch() const;
  /// Themselves where they are on the host, else fetched into `room`.
  [[nodiscard]] std::span<const float> read(base::AlignedVector<float>& room) const;
  /// As many as there are.
  void put(std::span<const float> values);

 private:
  void copy(void* to, const void* from) const;

  Device device_;
  base::AlignedVector<float> on_host_;
  compress::DeviceMemory on_device_;
  std::span<float> values_;
};

}  // namespace gradwire::runtime
