#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/aligned_vector.hpp"
#include "collectives/cell_arithmetic.hpp"

namespace gradwire::collectives {

/// For tensors in the host's memory. Everything is done when a call returns.
class HostArithmetic final : public CellArithmetic {
 public:
  HostArithmetic(bool average, Program program, Layout layout, std::shared_ptr<const compress::Codec> codec);

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
  void end() override {}
  void void_results() override;

  [[nodiscard]] bool can_take() override { return true; }
  [[nodiscard]] bool frame_ready(std::uint32_t /*cell*/) override { return true; }
  [[nodiscard]] CellFrame frame(std::uint32_t cell) noexcept override;
  [[nodiscard]] bool settled() override { return true; }
  [[nodiscard]] bool has_said_no() noexcept override { return false; }
  [[nodiscard]] bool non_finite() const noexcept override { return non_finite_; }
  void abandon() noexcept override {}

 private:
  struct FrameState {
    std::uint32_t bytes = 0;
    bool finite = true;
  };

  void begin() override;
  [[nodiscard]] std::byte* memory_of(std::uint32_t cell) noexcept;
  void encoded(std::uint32_t cell, const compress::Encoded& result) noexcept;
  void note(std::uint32_t cell, bool finite) noexcept;
  compress::Encoded encode_plain(const compress::Encode& sum, std::byte* frame) const;
  template <typename Visit>
  void split(std::uint32_t cell, std::span<const std::byte> payload, Stage stage, Visit visit) const;

  base::AlignedVector<std::byte> frames_;
  std::vector<FrameState> states_;
  bool non_finite_ = false;
};

}  // namespace gradwire::collectives
