#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "collectives/program.hpp"
#include "compress/cuda/device.hpp"

namespace gradwire::collectives {

/// A rank's frames on a CUDA device, where kernels encode them, and in pinned memory, where links take them.
/// In both memories a frame lies behind a head with a word that kernels raise where something is not finite,
/// so that one copy brings both. A cell is its index in the program.
class DeviceFrames {
 public:
  /// On the current device.
  explicit DeviceFrames(const Program& program);

  [[nodiscard]] std::size_t size() const noexcept { return frames_.size(); }
  [[nodiscard]] std::byte* on_device(std::uint32_t cell) const noexcept;
  /// What kernels raise.
  [[nodiscard]] std::uint32_t* word(std::uint32_t cell) const noexcept;
  /// All of them, words included: one fill takes less than one for each word.
  void clear_on(compress::Stream stream) const;

  /// To the host, with its word. `bytes`: of the payload.
  void fetch_on(compress::Stream stream, std::uint32_t cell, std::size_t bytes);
  [[nodiscard]] const compress::Event& fetched(std::uint32_t cell) const noexcept;
  /// A payload that was received becomes the frame, at once on the host.
  void keep_on(compress::Stream stream, std::uint32_t cell, std::span<const std::byte> payload);

  /// What was fetched or kept.
  [[nodiscard]] std::span<const std::byte> on_host(std::uint32_t cell) const noexcept;
  /// Whether the word that was fetched with it says so.
  [[nodiscard]] bool raised(std::uint32_t cell) const noexcept;

 private:
  struct Frame {
    std::size_t head = 0;  ///< where it begins in either memory
    std::size_t bytes = 0;
    compress::Event fetched;
  };

  std::vector<Frame> frames_;
  std::size_t bytes_;
  compress::DeviceMemory device_;
  compress::PinnedMemory host_;
};

}  // namespace gradwire::collectives
