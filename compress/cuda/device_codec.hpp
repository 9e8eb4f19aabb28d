#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "compress/addend.hpp"
#include "compress/codec.hpp"
#include "compress/cuda/device.hpp"

namespace gradwire::compress {

/// Where a kernel goes.
struct Launch {
  Stream stream = nullptr;
  /// A word on the device that becomes 1 where Encoded::finite would be false, and stays what it is
  /// otherwise. `none` needs none.
  std::uint32_t* non_finite = nullptr;
};

/// A codec on a CUDA device: the payloads, residuals and decoded values of the scalar reference, to the bit.
/// All pointers are to memory of the current device (require_device_memory() looks), payloads anywhere in it.
/// Each function puts one kernel or copy on the stream and returns: nothing waits, and nothing is allocated,
/// for there is no scratch beyond the flag, and kernels are loaded beforehand. Immutable and shared between
/// threads. They throw Error(invalid_argument) for a stream of another device (require_device_stream() says
/// when that is noticed) or a flag that is missing, Error(system) for what CUDA refuses, which can be the
/// failure of an earlier kernel.
class DeviceCodec {
 public:
  explicit DeviceCodec(std::shared_ptr<const Codec> host) noexcept : host_(std::move(host)) {}
  virtual ~DeviceCodec() = default;

  /// The same codec on the host: its name, block and payload sizes.
  [[nodiscard]] const Codec& host() const noexcept { return *host_; }

  /// Loads its kernels and those of finish_sum_on_device() onto the current device, which may wait for all
  /// that runs there. make_device_codec() has done it on the device that was current then: a thread that uses
  /// the codec on another one calls it there first, while no other rank waits for that device.
  void load() const;

  void encode(const Encode& in, std::byte* payload, const Launch& launch) const;
  void add_then_encode(const std::byte* payload, float factor, const Encode& in, std::byte* out,
                       const Launch& launch) const;
  void decode_assign(const std::byte* payload, float* out, std::size_t count, Stream stream) const;
  void decode_add(const std::byte* payload, float* sum, std::size_t count, float factor, Stream stream) const;

 private:
  virtual void load_kernels() const = 0;
  virtual void encode_sum(const Encode& in, const Addend& addend, std::byte* payload,
                          const Launch& launch) const = 0;
  virtual void assign(const std::byte* payload, float* out, std::size_t count, Stream stream) const = 0;
  virtual void add(const std::byte* payload, float* sum, std::size_t count, float factor,
                   Stream stream) const = 0;

  std::shared_ptr<const Codec> host_;
};

/// finish_sum() on the device, where a codec has been loaded.
void finish_sum_on_device(const Encode& in, float* result, bool look, const Launch& launch);

/// From the strings that make_codec() takes, loaded onto the current device. Throws as that does,
/// Error(unsupported) where no kernel can run, Error(system) for what CUDA refuses.
std::unique_ptr<const DeviceCodec> make_device_codec(std::string_view spec);

}  // namespace gradwire::compress
