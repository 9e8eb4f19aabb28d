#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "collectives/cell_arithmetic.hpp"
#include "collectives/device_frames.hpp"
#include "collectives/device_nan.hpp"
#include "compress/cuda/device.hpp"
#include "compress/cuda/device_codec.hpp"

namespace gradwire::collectives {

/// For tensors on a CUDA device. Kernels encode into frames there and decode from there, and frames cross
/// through pinned memory. All of it goes onto one stream, where what was put earlier is done earlier: only
/// the host has to ask what is done. While one segment is on the wire another is copied and a third encoded.
/// Once it is made nothing is allocated, and nothing waits but abandon().
class DeviceArithmetic final : public CellArithmetic {
 public:
  /// `device` is the current one, and the program's frames are apart from the tensors. A run begins after
  /// `ready`, which whoever starts it has recorded. Throws Error(unsupported) for a codec of variable size.
  DeviceArithmetic(bool average, Program program, Layout layout, std::shared_ptr<const compress::Codec> codec,
                   int device, std::shared_ptr<const compress::Event> ready);
  ~DeviceArithmetic() override;

  void load(std::uint32_t cell) override;
  void store(std::uint32_t cell) override;
  void encode(std::uint32_t cell, Stage stage) override;
  void add_then_encode(std::uint32_t cell, std::span<const std::byte> payload, Stage stage) override;
  void add(std::uint32_t cell, std::span<const std::byte> payload, Stage stage) override;
  void assign(std::uint32_t cell, std::span<const std::byte> payload) override;
  void keep(std::uint32_t cell, std::span<const std::byte> payload) override;
  void add_own(std::uint32_t cell, Stage stage) override;
  void assign_own(std::uint32_t cell) override;
  void finish(std::uint32_t cell) override;
  void end() override;
  void void_results() override;

  [[nodiscard]] bool can_take() override;
  [[nodiscard]] bool frame_ready(std::uint32_t cell) override;
  [[nodiscard]] CellFrame frame(std::uint32_t cell) noexcept override;
  [[nodiscard]] bool settled() override;
  [[nodiscard]] bool has_said_no() noexcept override { return std::exchange(said_no_, false); }
  [[nodiscard]] bool non_finite() const noexcept override;
  void abandon() noexcept override;

 private:
  /// Where a received payload waits for its copy to the device.
  struct Slot {
    std::byte* memory = nullptr;
    compress::Event copied;
  };

  void begin() override;
  void allocate_slots();
  [[nodiscard]] bool finite(std::uint32_t cell) const noexcept;
  [[nodiscard]] std::size_t payload_bytes(std::uint32_t cell, Stage stage) const noexcept;
  [[nodiscard]] const compress::DeviceCodec& kernels(Stage stage) const noexcept {
    return stage == Stage::local ? *plain_kernels_ : *kernels_;
  }
  [[nodiscard]] compress::Launch launch_for(std::uint32_t cell) const noexcept;

  const std::byte* bring(std::span<const std::byte> payload);
  void add_payload(std::uint32_t cell, const std::byte* payload, Stage stage);
  void assign_payload(std::uint32_t cell, const std::byte* payload);
  bool reached(const compress::Event& event);

  int device_;
  std::shared_ptr<const compress::Event> ready_;
  std::unique_ptr<const compress::DeviceCodec> kernels_;
  std::unique_ptr<const compress::DeviceCodec> plain_kernels_;
  DeviceFrames frames_;
  compress::DeviceMemory incoming_;  ///< the payload that is being decoded
  compress::PinnedMemory slot_memory_;
  std::vector<Slot> slots_;
  std::size_t next_slot_ = 0;
  compress::NonFiniteFlag result_flag_;  ///< of what is in no frame
  DeviceNan nan_;
  compress::Event ended_;
  bool said_no_ = false;
  compress::OwnStream stream_;
};

}  // namespace gradwire::collectives
