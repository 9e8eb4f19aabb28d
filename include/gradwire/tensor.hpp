#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "gradwire/export.hpp"

namespace gradwire {

/// Element types of a tensor. The arithmetic between them is always float32.
enum class DType : std::uint8_t { float32 = 0, bfloat16 = 1, float16 = 2 };

/// Bytes per element: 4, 2, 2.
GRADWIRE_EXPORT std::size_t size_of(DType dtype) noexcept;
/// "float32", "bfloat16", "float16".
GRADWIRE_EXPORT std::string_view to_string(DType dtype) noexcept;

/// Where memory is: on the host, or on a CUDA device.
class Device {
 public:
  Device() = default;  ///< the host
  /// A device as CUDA numbers them in this process.
  static Device cuda(int number) noexcept { return Device(number); }

  [[nodiscard]] bool is_host() const noexcept { return number_ == kHost; }
  /// Of a CUDA device.
  [[nodiscard]] int number() const noexcept { return number_; }
  friend bool operator==(Device one, Device other) noexcept { return one.number_ == other.number_; }

 private:
  static constexpr int kHost = std::numeric_limits<int>::min();
  explicit Device(int number) noexcept : number_(number) {}
  int number_ = kHost;
};

/// A run of elements that the caller owns and lends to an operation until its Work completes.
struct Tensor {
  void* data = nullptr;
  std::size_t count = 0;  ///< elements
  DType dtype = DType::float32;
  Device device{};  ///< where `data` points to

  Tensor() = default;
  Tensor(void* elements, std::size_t element_count, DType type, Device where = {}) noexcept
      : data(elements), count(element_count), dtype(type), device(where) {}
  Tensor(std::span<float> values) noexcept  // NOLINT(google-explicit-constructor): a view of a view
      : data(values.data()), count(values.size()) {}
  Tensor(std::vector<float>& values) noexcept  // NOLINT(google-explicit-constructor): a view of its elements
      : data(values.data()), count(values.size()) {}

  [[nodiscard]] std::size_t bytes() const noexcept { return count * size_of(dtype); }
};

}  // namespace gradwire
