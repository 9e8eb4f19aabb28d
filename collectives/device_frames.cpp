#include "collectives/device_frames.hpp"

#include <algorithm>
#include <cstring>

namespace gradwire::collectives {
namespace {

/// Keeps frames on cache lines of their own, and their elements where kernels have wide accesses.
constexpr std::size_t kHead = 64;

}  // namespace

DeviceFrames::DeviceFrames(const Program& program)
    : frames_(program.cells.size()),
      bytes_(program.frame_bytes + kHead * frames_.size()),
      device_(compress::allocate_device(bytes_)),
      host_(compress::allocate_pinned(bytes_)) {
  for (std::size_t cell = 0; cell < frames_.size(); ++cell) {
    frames_[cell].head = program.cells[cell].frame_offset + kHead * cell;
  }
  std::memset(host_.get(), 0, bytes_);
}

std::byte* DeviceFrames::on_device(std::uint32_t cell) const noexcept {
  return device_.get() + frames_[cell].head + kHead;
}

std::uint32_t* DeviceFrames::word(std::uint32_t cell) const noexcept {
  return reinterpret_cast<std::uint32_t*>(device_.get() + frames_[cell].head);
}

void DeviceFrames::clear_on(compress::Stream stream) const {
  compress::fill_on(stream, device_.get(), std::byte{}, bytes_);
}

void DeviceFrames::fetch_on(compress::Stream stream, std::uint32_t cell, std::size_t bytes) {
  Frame& frame = frames_[cell];
  frame.bytes = bytes;
  compress::copy_on(stream, host_.get() + frame.head, device_.get() + frame.head, kHead + bytes);
  frame.fetched.record(stream);
}

const compress::Event& DeviceFrames::fetched(std::uint32_t cell) const noexcept {
  return frames_[cell].fetched;
}

void DeviceFrames::keep_on(compress::Stream stream, std::uint32_t cell, std::span<const std::byte> payload) {
  Frame& frame = frames_[cell];
  frame.bytes = payload.size();
  std::byte* on_host = host_.get() + frame.head + kHead;
  std::copy(payload.begin(), payload.end(), on_host);
  compress::copy_on(stream, on_device(cell), on_host, frame.bytes);
}

std::span<const std::byte> DeviceFrames::on_host(std::uint32_t cell) const noexcept {
  const Frame& frame = frames_[cell];
  return {host_.get() + frame.head + kHead, frame.bytes};
}

bool DeviceFrames::raised(std::uint32_t cell) const noexcept {
  std::uint32_t word = 0;
  std::memcpy(&word, host_.get() + frames_[cell].head, sizeof word);
  return word != 0;
}

}  // namespace gradwire::collectives
