#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "compress/cuda/device.hpp"
#include "gradwire/tensor.hpp"

namespace gradwire {

/// Floats of the host's that are on the current device until they are fetched, by copies on a stream.
class DeviceCopy {
 public:
  DeviceCopy(std::vector<float>& host, compress::Stream stream)
      : host_(host), device_(compress::allocate_device(sizeof(float) * host.size())) {
    compress::copy_on(stream, device_.get(), host.data(), sizeof(float) * host.size());
  }

  [[nodiscard]] float* data() const { return reinterpret_cast<float*>(device_.get()); }
  [[nodiscard]] std::span<float> span() const { return {data(), host_.size()}; }
  [[nodiscard]] Tensor tensor(int device = 0) const {
    return {data(), host_.size(), DType::float32, Device::cuda(device)};
  }
  void fetch(compress::Stream stream) const {
    compress::copy_on(stream, host_.data(), device_.get(), sizeof(float) * host_.size());
  }

 private:
  std::vector<float>& host_;
  compress::DeviceMemory device_;
};

}  // namespace gradwire
