#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gradwire/export.hpp"

namespace gradwire::compress {

/// What the frame header carries. Values never change meaning.
enum class CodecId : std::uint8_t { none = 0, fp16 = 1, bf16 = 2, onebit = 3 };

/// What encode takes. With v = value + residual, the payload stands for scale * v, and residual_out becomes
/// v - decoded / scale, against what the payload really holds.
struct Encode {
  const float* value = nullptr;
  const float* residual = nullptr;  ///< null: zeros
  /// Null: the loss is dropped (no error feedback). Equal to `residual`: in place. Otherwise a shadow, which
  /// does not overlap anything and is written with non-temporal stores where that pays.
  float* residual_out = nullptr;
  std::size_t count = 0;  ///< elements; the first one sits at a multiple of block() in its tensor
  float scale = 1.0F;     ///< 1/p when averaging, else 1
};

struct Encoded {
  std::size_t bytes = 0;  ///< written to the payload
  bool finite = true;  ///< false: a block held a NaN or infinity; it decodes to NaN and its residual is kept
};

/// Turns float32 elements into payload bytes and back. Immutable and shared between threads: the only state
/// is the residual that the caller passes. The payload and every decoded value are the same to the bit on
/// every instruction set; the scalar version is the definition.
class Codec {
 public:
  virtual ~Codec() = default;

  [[nodiscard]] virtual CodecId id() const noexcept = 0;
  /// The canonical string: parsing it gives an equal codec.
  [[nodiscard]] virtual std::string spec() const = 0;
  /// Elements that share their scales; pieces of a tensor begin at multiples of it.
  [[nodiscard]] virtual std::size_t block() const noexcept = 0;
  /// True when the payload is the float32 values themselves, so a frame may alias its buffer: `payload` of
  /// encode() may be in.value's own memory.
  [[nodiscard]] virtual bool identity() const noexcept { return false; }
  /// True when payload size depends on the count alone. Such payloads concatenate block by block.
  [[nodiscard]] virtual bool fixed_size() const noexcept { return true; }
  /// True for formats that overflow where float32 does not: partial sums are scaled as well when averaging.
  [[nodiscard]] virtual bool narrow_range() const noexcept { return false; }
  /// Whether encoding loses anything, so that a residual is worth keeping.
  [[nodiscard]] virtual bool lossy() const noexcept { return !identity(); }

  /// Bytes that `count` elements need at most (exactly, when fixed_size()).
  [[nodiscard]] virtual std::size_t max_payload(std::size_t count) const noexcept = 0;

  /// Writes at most max_payload(count) bytes.
  virtual Encoded encode(const Encode& in, std::byte* payload) const = 0;

  /// True when the bytes could have come from encode() of `count` elements: right size, unused bits zero.
  /// The functions below may only be called with payloads that pass: they go by `count` and do not look at
  /// the span's size.
  [[nodiscard]] virtual bool valid(std::span<const std::byte> payload, std::size_t count) const noexcept = 0;

  /// out[i] = decoded[i]
  virtual void decode_assign(std::span<const std::byte> payload, float* out, std::size_t count) const = 0;

  /// sum[i] += decoded[i] * factor; factor is 1 or 1/scale of the encoder.
  virtual void decode_add(std::span<const std::byte> payload, float* sum, std::size_t count,
                          float factor) const = 0;

  /// The same bits as decode_add(payload, value) followed by encode(in), without storing the sum: in.value is
  /// left as it is.
  virtual Encoded add_then_encode(std::span<const std::byte> payload, float factor, const Encode& in,
                                  std::byte* out) const = 0;
};

/// The end of a sum that nobody else gets, so that it needs no rounding: result = scale * v, and residual_out
/// zero. `result` may be in.value. With `look`, as lossy codecs do, an element whose v is not finite keeps
/// its residual and makes the answer false; without, as `none` does, the answer is true.
bool finish_sum(const Encode& in, float* result, bool look);

/// Parses "name" or "name:option=value,option=value". Throws Error(invalid_argument) with the list of what is
/// allowed.
GRADWIRE_EXPORT std::shared_ptr<const Codec> make_codec(std::string_view spec);

/// The scalar reference of the same codec: the definition that every other version is compared with.
GRADWIRE_EXPORT std::shared_ptr<const Codec> make_reference_codec(std::string_view spec);

/// Every codec's name.
GRADWIRE_EXPORT std::vector<std::string> codec_names();

/// One line per codec with its options, for messages and --help.
GRADWIRE_EXPORT std::string describe_codecs();

}  // namespace gradwire::compress
