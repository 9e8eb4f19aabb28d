#pragma once

#include <cstddef>
#include <cstdint>

#include "compress/codec.hpp"
#include "wire/header.hpp"

namespace gradwire::server {

/// Who sends a message; the numbers are the ranks of a service's link.
enum class Side : std::uint32_t { worker = 0, server = 1 };

/// What follows a head: `payloads` payloads of `count` elements each, one after another.
struct Body {
  const compress::Codec* codec = nullptr;  ///< outlives the message
  std::uint32_t shard = 0;
  std::uint64_t count = 0;
  std::uint32_t payloads = 0;
};

/// The header of the frame that carries a head; the link adds what it sets.
[[nodiscard]] wire::Header head_header(std::uint64_t number, Side sender) noexcept;

/// The data frames of a body in their order: sender and receiver go through the same ones. Each holds as many
/// whole blocks as fit, the last one of a payload the rest of it.
class BodyFrames {
 public:
  BodyFrames() = default;
  /// Throws Error(unsupported) for a codec whose payloads cannot be cut at blocks.
  BodyFrames(const Body& body, std::uint64_t number, Side sender);

  [[nodiscard]] bool is_done() const noexcept { return payload_ == payloads_; }
  /// What follows is of the frame that is due.
  [[nodiscard]] const wire::Header& header() const noexcept { return header_; }
  [[nodiscard]] const compress::Codec& codec() const noexcept { return *codec_; }
  [[nodiscard]] std::uint32_t payload() const noexcept { return payload_; }  ///< of the body
  [[nodiscard]] std::uint64_t first() const noexcept { return first_; }      ///< element of that payload
  [[nodiscard]] std::size_t offset() const noexcept { return offset_; }      ///< byte of that payload
  [[nodiscard]] std::size_t bytes() const noexcept { return codec_->max_payload(header_.count); }
  [[nodiscard]] std::size_t payload_bytes() const noexcept { return codec_->max_payload(count_); }  ///< whole
  void next() noexcept;

 private:
  void set_count() noexcept;

  const compress::Codec* codec_ = nullptr;
  std::uint64_t count_ = 0;  // elements of a payload
  std::uint64_t most_ = 0;   // elements of a frame
  std::uint32_t payloads_ = 0;
  std::uint32_t payload_ = 0;
  std::uint64_t first_ = 0;
  std::size_t offset_ = 0;
  wire::Header header_;
};

}  // namespace gradwire::server
