#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "compress/cuda/device.hpp"
#include "gradwire/tensor.hpp"

namespace gradwire {

/// Elements of the host's that are on the current device until they are fetched, by copies on a stream.
class DeviceCopy {
 public:
  template <typename Element>
  DeviceCopy(std::vector<Element>& host, compress::Stream stream)
      : host_(std::as_writable_bytes(std::span(host))), device_(compress::allocate_device(host_.size())) {
    compress::copy_on(stream, device_.get(), host_.data(), host_.size());
  }

  [[nodiscard]] float* data() const { return reinterpret_cast<float*>(device_.get()); }
  [[nodiscard]] std::span<float> span() const { return {data(), host_.size() / sizeof(float)}; }
  [[nodiscard]] Tensor tensor(int device = 0, DType dtype = DType::float32) const {
    return {data(), host_.size() / size_of(dtype), dtype, Device::cuda(device)};
  }
  void fetch(compress::Stream stream) const {
    compress::copy_on(stream, host_.data(), device_.get(), host_.size());
  }

 private:
  std::span<std::byte> host_;
  compress::DeviceMemory device_;
};

}  // namespace gradwire
