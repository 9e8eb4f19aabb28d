#include "collectives/device_nan.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include "compress/convert.hpp"

namespace gradwire::collectives {
namespace {

using compress::copy_on;

constexpr std::array kTypes{DType::float32, DType::bfloat16, DType::float16};
constexpr std::size_t kNanBytes = sizeof(float);

constexpr std::size_t place_of(DType dtype) noexcept { return static_cast<std::size_t>(dtype) * kNanBytes; }

}  // namespace

DeviceNan::DeviceNan() : nans_(compress::allocate_pinned(kTypes.size() * kNanBytes)) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  for (const DType dtype : kTypes) {
    for (std::size_t done = 0; done < kNanBytes; done += size_of(dtype)) {
      compress::from_float32(dtype, &kNan, nans_.get() + place_of(dtype) + done, 1);
    }
  }
}

/// What has been written already is copied, each time twice as much.
void DeviceNan::void_on(compress::Stream stream, std::span<const Buffer> buffers) const {
  for (const Buffer& buffer : buffers) {
    const std::size_t bytes = buffer.tensor.bytes();
    auto* to = static_cast<std::byte*>(buffer.tensor.data);
    std::size_t done = std::min(bytes, kNanBytes);
    copy_on(stream, to, nans_.get() + place_of(buffer.tensor.dtype), done);
    while (done < bytes) {
      const std::size_t more = std::min(done, bytes - done);
      copy_on(stream, to + done, to, more);
      done += more;
    }
    if (buffer.next_residual != buffer.residual) {
      copy_on(stream, buffer.next_residual, buffer.residual, sizeof(float) * buffer.tensor.count);
    }
  }
}

}  // namespace gradwire::collectives
