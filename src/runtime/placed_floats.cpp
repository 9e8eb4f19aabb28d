#include "runtime/placed_floats.hpp"

#include <algorithm>

namespace gradwire::runtime {

void copy_and_wait(Device device, compress::Stream stream, void* to, const void* from, std::size_t bytes) {
  const compress::UseDevice here(device.number());
  compress::copy_on(stream, to, from, bytes);
  const compress::Event copied;
  copied.record(stream);
  copied.wait();
}

PlacedFloats::PlacedFloats(std::size_t count, Device device) : device_(device) {
  if (device.is_host()) {
    on_host_.resize(count);
    values_ = on_host_;
    return;
  }
  const compress::UseDevice here(device.number());
  on_device_ = compress::allocate_device(count * sizeof(float));
  values_ = {reinterpret_cast<float*>(on_device_.get()), count};
  compress::fill_on(nullptr, on_device_.get(), std::byte{0}, values_.size_bytes());
  const compress::Event filled;
  filled.record(nullptr);
  filled.wait();
}

base::AlignedVector<float> PlacedFloats::fetch() const {
  if (device_.is_host()) return on_host_;
  base::AlignedVector<float> fetched(values_.size());
  copy_and_wait(device_, nullptr, fetched.data(), values_.data(), values_.size_bytes());
  return fetched;
}

void PlacedFloats::put(std::span<const float> values) {
  if (device_.is_host()) {
    std::copy(values.begin(), values.end(), values_.begin());
  } else {
    copy_and_wait(device_, nullptr, values_.data(), values.data(), values.size_bytes());
  }
}

}  // namespace gradwire::runtime
