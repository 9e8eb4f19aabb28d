#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "codec_test_data.hpp"
#include "compress/cuda/device.hpp"

namespace gradwire::compress {

inline constexpr std::byte kGuard{0xA5};
inline constexpr std::size_t kMargin = 64;

/// Bytes from the caller's side of the fence, on the device: guards before and after, the start `shift` bytes
/// beyond a multiple of 64.
class OnDevice {
 public:
  OnDevice(const OwnStream& stream, const void* from, std::size_t bytes, std::size_t shift)
      : stream_(stream),
        bytes_(bytes),
        shift_(shift),
        memory_(allocate_device(bytes + 3 * kMargin)),
        before_(bytes + 3 * kMargin, kGuard) {
    if (bytes > 0) std::memcpy(before_.data() + offset(), from, bytes);
    copy_on(stream.get(), memory_.get(), before_.data(), before_.size());
    stream.wait();
  }
  OnDevice(const OwnStream& stream, const Floats& floats, std::size_t shift)
      : OnDevice(stream, floats.data(), floats.size() * sizeof(float), shift * sizeof(float)) {}

  std::byte* bytes() { return memory_.get() + offset(); }
  float* floats() { return reinterpret_cast<float*>(bytes()); }

  /// What is there now. Fails the test when the guards are not what they were.
  Bytes fetch() {
    Bytes now(before_.size());
    copy_on(stream_.get(), now.data(), memory_.get(), now.size());
    stream_.wait();
    const auto untouched = [&](std::size_t from, std::size_t to) {
      return std::all_of(now.begin() + static_cast<std::ptrdiff_t>(from),
                         now.begin() + static_cast<std::ptrdiff_t>(to),
                         [](std::byte byte) { return byte == kGuard; });
    };
    EXPECT_TRUE(untouched(0, offset())) << "written before the beginning";
    EXPECT_TRUE(untouched(offset() + bytes_, now.size())) << "written behind the end";
    return {now.begin() + static_cast<std::ptrdiff_t>(offset()),
            now.begin() + static_cast<std::ptrdiff_t>(offset() + bytes_)};
  }
  Floats fetch_floats() {
    const Bytes raw = fetch();
    Floats floats(raw.size() / sizeof(float));
    if (!floats.empty()) std::memcpy(floats.data(), raw.data(), raw.size());
    return floats;
  }

 private:
  [[nodiscard]] std::size_t offset() const { return kMargin + shift_; }

  const OwnStream& stream_;
  std::size_t bytes_;
  std::size_t shift_;
  DeviceMemory memory_;
  Bytes before_;
};

}  // namespace gradwire::compress
