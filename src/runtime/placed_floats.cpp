#include "runtime/placed_floats.hpp"

#include <algorithm>

namespace gradwire::runtime {

void copy_and_wait(Device device, compress::Stream stream, void* to, const void* from, std::size_t bytes) {
  const compress::UseDevice here(device.number());
  const compress::Event copied;  // before there is a copy that would not be waited for
  compress::copy_on(stream, to, from, bytes);
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
  const compress::OwnStream stream;
  compress::fill_on(stream.get(), on_device_.get(), std::byte{0}, values_.size_bytes());
  stream.wait();
}

base::AlignedVector<float> PlacedFloats::fetch() const {
  if (device_.is_host()) return on_host_;
  base::AlignedVector<float> fetched(values_.size());
  copy(fetched.data(), values_.data());
  return fetched;
}

std::span<const float> PlacedFloats::read(base::AlignedVector<float>& room) const {
  if (device_.is_host()) return values_;
  room = fetch();
  return room;
}

void PlacedFloats::put(std::span<const float> values) {
  if (device_.is_host()) {
    std::copy(values.begin(), values.end(), values_.begin());
  } else {
    copy(values_.data(), values.data());
  }
}

/// On a stream of its own: the default one waits for whatever the caller's streams hold.
void PlacedFloats::copy(void* to, const void* from) const {
  const compress::UseDevice here(device_.number());
  const compress::OwnStream stream;
  copy_and_wait(device_, stream.get(), to, from, values_.size_bytes());
}

}  // namespace gradwire::runtime
