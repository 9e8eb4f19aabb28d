#include "collectives/device_arithmetic.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "compress/cuda/device_convert.hpp"
#include "gradwire/error.hpp"

namespace gradwire::collectives {
namespace {

using compress::copy_on;
using compress::UseDevice;

/// Slots lie on cache lines of their own, and their elements where kernels have wide accesses.
constexpr std::size_t kAlignment = 64;
/// Enough that the next payload can be taken while earlier ones wait for the device.
constexpr std::size_t kSlots = 8;

std::byte* elements(const Tensor& tensor, std::size_t begin) noexcept {
  return static_cast<std::byte*>(tensor.data) + begin * size_of(tensor.dtype);
}

}  // namespace

DeviceArithmetic::DeviceArithmetic(bool average, Program program, Layout layout,
                                   std::shared_ptr<const compress::Codec> codec, int device,
                                   std::shared_ptr<const compress::Event> ready)
    : CellArithmetic(average, std::move(program), std::move(layout), std::move(codec)),
      device_(device),
      ready_(std::move(ready)),
      kernels_(compress::make_device_codec(this->codec().spec())),
      plain_kernels_(compress::make_device_codec("none")),
      frames_(this->program()) {
  if (!this->codec().fixed_size()) {
    throw Error(ErrorCode::unsupported,
                fmt::format("codec '{}', whose payloads vary in size, on a device", this->codec().spec()),
                "use a codec of fixed size, or keep the tensors on the host");
  }
  compress::load_conversion_kernels();
  allocate_slots();
}

DeviceArithmetic::~DeviceArithmetic() { abandon(); }

void DeviceArithmetic::allocate_slots() {
  std::size_t count = 0;
  std::size_t largest = 0;
  for (const auto& receives : program().receives) {
    count += receives.size();
    for (const Transfer& transfer : receives) {
      const Cell& cell = program().cells[transfer.cell];
      const Stage stage = program().instructions[cell.instruction_begin + transfer.instruction].stage;
      largest = std::max(largest, payload_bytes(transfer.cell, stage));
    }
  }
  const std::size_t bytes = (largest + kAlignment - 1) / kAlignment * kAlignment;
  slots_.resize(std::min(count, kSlots));
  incoming_ = compress::allocate_device(bytes);
  slot_memory_ = compress::allocate_pinned(bytes * slots_.size());
  for (std::size_t i = 0; i < slots_.size(); ++i) slots_[i].memory = slot_memory_.get() + i * bytes;
}

void DeviceArithmetic::begin() {
  const UseDevice here(device_);
  ready_->hold(stream_.get());
  if (!codec().lossy()) return;
  frames_.clear_on(stream_.get());
  result_flag_.clear_on(stream_.get());
}

void DeviceArithmetic::load(std::uint32_t cell) {
  const UseDevice here(device_);
  for (const Piece& piece : pieces(cell)) {
    const Tensor& tensor = buffer_of(piece).tensor;
    if (tensor.dtype == DType::float32) continue;
    compress::to_float32_on_device(tensor.dtype, elements(tensor, piece.begin), sum_at(piece), piece.count,
                                   stream_.get());
  }
}

void DeviceArithmetic::store(std::uint32_t cell) {
  const UseDevice here(device_);
  const compress::Launch launch{stream_.get(), result_flag_.word()};
  for (const Piece& piece : pieces(cell)) {
    const Tensor& tensor = buffer_of(piece).tensor;
    if (tensor.dtype == DType::float32) continue;
    compress::from_float32_on_device(tensor.dtype, sum_at(piece), elements(tensor, piece.begin), piece.count,
                                     launch);
  }
}

void DeviceArithmetic::encode(std::uint32_t cell, Stage stage) {
  const UseDevice here(device_);
  const compress::Launch launch = launch_for(cell);
  std::byte* to = frames_.on_device(cell);
  for (const Piece& piece : pieces(cell)) {
    const compress::Encode sum = sum_of(piece, stage);
    if (stage == Stage::local && codec().lossy()) {
      compress::finish_sum_on_device(sum, reinterpret_cast<float*>(to), true, launch);
    } else {
      kernels(stage).encode(sum, to, launch);
    }
    to += codec(stage).max_payload(piece.count);
  }
  frames_.fetch_on(stream_.get(), cell, payload_bytes(cell, stage));
}

void DeviceArithmetic::add_then_encode(std::uint32_t cell, std::span<const std::byte> payload, Stage stage) {
  const UseDevice here(device_);
  const std::byte* from = bring(payload);
  std::byte* to = frames_.on_device(cell);
  for (const Piece& piece : pieces(cell)) {
    kernels_->add_then_encode(from, add_factor(Stage::partial), sum_of(piece, stage), to, launch_for(cell));
    from += codec().max_payload(piece.count);
    to += codec().max_payload(piece.count);
  }
  frames_.fetch_on(stream_.get(), cell, payload_bytes(cell, stage));
}

void DeviceArithmetic::add(std::uint32_t cell, std::span<const std::byte> payload, Stage stage) {
  const UseDevice here(device_);
  add_payload(cell, bring(payload), stage);
}

void DeviceArithmetic::assign(std::uint32_t cell, std::span<const std::byte> payload) {
  const UseDevice here(device_);
  assign_payload(cell, bring(payload));
}

void DeviceArithmetic::keep(std::uint32_t cell, std::span<const std::byte> payload) {
  const UseDevice here(device_);
  frames_.keep_on(stream_.get(), cell, payload);
  assign_payload(cell, frames_.on_device(cell));
}

void DeviceArithmetic::add_own(std::uint32_t cell, Stage stage) {
  const UseDevice here(device_);
  add_payload(cell, frames_.on_device(cell), stage);
}

void DeviceArithmetic::assign_own(std::uint32_t cell) {
  const UseDevice here(device_);
  assign_payload(cell, frames_.on_device(cell));
}

void DeviceArithmetic::finish(std::uint32_t cell) {
  const UseDevice here(device_);
  const compress::Launch launch{stream_.get(), result_flag_.word()};
  for (const Piece& piece : pieces(cell)) {
    compress::finish_sum_on_device(sum_of(piece, Stage::result), sum_at(piece), codec().lossy(), launch);
  }
}

void DeviceArithmetic::end() {
  const UseDevice here(device_);
  result_flag_.fetch_on(stream_.get());
  ended_.record(stream_.get());
}

void DeviceArithmetic::void_results() {
  const UseDevice here(device_);
  nan_.void_on(stream_.get(), buffers());
  ended_.record(stream_.get());
}

bool DeviceArithmetic::can_take() { return slots_.empty() || reached(slots_[next_slot_].copied); }

bool DeviceArithmetic::frame_ready(std::uint32_t cell) { return reached(frames_.fetched(cell)); }

CellFrame DeviceArithmetic::frame(std::uint32_t cell) noexcept {
  return {frames_.on_host(cell), finite(cell)};
}

bool DeviceArithmetic::settled() { return reached(ended_); }

bool DeviceArithmetic::reached(const compress::Event& event) {
  if (event.reached()) return true;
  said_no_ = true;
  return false;
}

bool DeviceArithmetic::non_finite() const noexcept {
  if (!codec().lossy()) return false;
  if (result_flag_.raised()) return true;
  for (std::uint32_t cell = 0; cell < frames_.size(); ++cell) {
    if (!finite(cell)) return true;
  }
  return false;
}

void DeviceArithmetic::abandon() noexcept {
  try {
    stream_.wait();
  } catch (const std::exception&) {
    // The device is lost, and with it all that was on the stream.
  }
}

bool DeviceArithmetic::finite(std::uint32_t cell) const noexcept {
  return !codec().lossy() || !frames_.raised(cell);
}

std::size_t DeviceArithmetic::payload_bytes(std::uint32_t cell, Stage stage) const noexcept {
  std::size_t bytes = 0;
  for (const Piece& piece : pieces(cell)) bytes += codec(stage).max_payload(piece.count);
  return bytes;
}

compress::Launch DeviceArithmetic::launch_for(std::uint32_t cell) const noexcept {
  return {stream_.get(), frames_.word(cell)};
}

/// To the device, by way of a slot that is free.
const std::byte* DeviceArithmetic::bring(std::span<const std::byte> payload) {
  const Slot& slot = slots_[next_slot_];
  next_slot_ = (next_slot_ + 1) % slots_.size();
  std::copy(payload.begin(), payload.end(), slot.memory);
  copy_on(stream_.get(), incoming_.get(), slot.memory, payload.size());
  slot.copied.record(stream_.get());
  return incoming_.get();
}

void DeviceArithmetic::add_payload(std::uint32_t cell, const std::byte* payload, Stage stage) {
  for (const Piece& piece : pieces(cell)) {
    kernels(stage).decode_add(payload, sum_at(piece), piece.count, add_factor(stage), stream_.get());
    payload += codec(stage).max_payload(piece.count);
  }
}

void DeviceArithmetic::assign_payload(std::uint32_t cell, const std::byte* payload) {
  for (const Piece& piece : pieces(cell)) {
    kernels_->decode_assign(payload, sum_at(piece), piece.count, stream_.get());
    payload += codec().max_payload(piece.count);
  }
}

}  // namespace gradwire::collectives
