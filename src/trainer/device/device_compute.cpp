#include "trainer/device/device_compute.hpp"

#include <cstring>

namespace gradwire::trainer {

namespace {

/// An empty run has an address, too.
std::size_t bytes_of(std::size_t count) { return sizeof(float) * (count == 0 ? 1 : count); }

}  // namespace

float* DeviceCompute::allocate(std::size_t count) {
  const std::size_t bytes = bytes_of(count);
  auto* const values = reinterpret_cast<float*>(allocate_bytes(Place::device, bytes));
  clear_bytes(values, bytes);
  return values;
}

void DeviceCompute::release(float* values, std::size_t /*count*/) noexcept {
  release_bytes(Place::device, reinterpret_cast<std::byte*>(values));
}

float* DeviceCompute::allocate_on_host(std::size_t count) {
  return reinterpret_cast<float*>(allocate_bytes(Place::pinned, bytes_of(count)));
}

void DeviceCompute::release_on_host(float* values, std::size_t /*count*/) noexcept {
  release_bytes(Place::pinned, reinterpret_cast<std::byte*>(values));
}

void DeviceCompute::begin_upload(std::span<const float> host, std::span<float> to) {
  copy_bytes(to.data(), host.data(), host.size_bytes());
}

void DeviceCompute::begin_download(std::span<const float> from, std::span<float> host) {
  copy_bytes(host.data(), from.data(), from.size_bytes());
}

void DeviceCompute::copy(std::span<const float> from, std::span<float> to) {
  copy_bytes(to.data(), from.data(), from.size_bytes());
}

void DeviceCompute::clear(std::span<float> values) { clear_bytes(values.data(), values.size_bytes()); }

double DeviceCompute::softmax_cross_entropy(std::span<float> logits, std::size_t classes,
                                            std::span<const std::uint8_t> labels, float scale) {
  const std::size_t rows = labels.size();
  if (rows == 0) return 0;
  const Crossing& in = sized(labels_, rows);
  const Crossing& out = sized(losses_, rows * sizeof(double));
  std::memcpy(in.host, labels.data(), rows);
  copy_bytes(in.device, in.host, rows);
  put_softmax(logits.data(), classes, reinterpret_cast<const std::uint8_t*>(in.device), rows, scale,
              reinterpret_cast<double*>(out.device));
  copy_bytes(out.host, out.device, rows * sizeof(double));
  wait();
  // In their order, as on the host.
  double loss = 0;
  for (std::size_t row = 0; row < rows; ++row) {
    double one = 0;
    std::memcpy(&one, out.host + row * sizeof one, sizeof one);
    loss += one;
  }
  return loss;
}

bool DeviceCompute::sgd_step(std::span<float> weights, std::span<const float> gradients,
                             std::span<float> velocity, const SgdOptions& options) {
  put_sgd_step(weights, gradients, velocity, options, cleared_word());
  return !was_set();
}

bool DeviceCompute::is_finite(std::span<const float> values) {
  put_look(values, cleared_word());
  return !was_set();
}

void DeviceCompute::let_go() noexcept {
  for (Crossing* const crossing : {&labels_, &losses_, &word_}) release(*crossing);
}

DeviceCompute::Crossing& DeviceCompute::sized(Crossing& crossing, std::size_t bytes) {
  if (crossing.bytes < bytes) {
    release(crossing);
    crossing.device = allocate_bytes(Place::device, bytes);
    crossing.host = allocate_bytes(Place::pinned, bytes);
    crossing.bytes = bytes;
  }
  return crossing;
}

void DeviceCompute::release(Crossing& crossing) noexcept {
  if (crossing.device != nullptr) release_bytes(Place::device, crossing.device);
  if (crossing.host != nullptr) release_bytes(Place::pinned, crossing.host);
  crossing = {};
}

std::uint32_t* DeviceCompute::cleared_word() {
  std::byte* const word = sized(word_, sizeof(std::uint32_t)).device;
  clear_bytes(word, sizeof(std::uint32_t));
  return reinterpret_cast<std::uint32_t*>(word);
}

bool DeviceCompute::was_set() {
  copy_bytes(word_.host, word_.device, sizeof(std::uint32_t));
  wait();
  std::uint32_t word = 0;
  std::memcpy(&word, word_.host, sizeof word);
  return word != 0;
}

}  // namespace gradwire::trainer
