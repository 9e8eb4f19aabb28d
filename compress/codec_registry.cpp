#include <fmt/format.h>

#include <array>
#include <bit>
#include <charconv>

#include "compress/codec.hpp"
#include "compress/codec_spec.hpp"
#include "compress/cuda/device_codecs.hpp"
#include "compress/half_codec.hpp"
#include "compress/onebit_codec.hpp"
#include "compress/plain_codec.hpp"
#include "gradwire/error.hpp"

namespace gradwire::compress {
namespace {

static_assert(std::endian::native == std::endian::little,
              "payloads are little-endian, and every codec writes them as they lie in memory");

constexpr std::size_t kSmallestBlock = 16;
constexpr std::size_t kLargestBlock = 65536;

enum class Version : std::uint8_t { reference, fast };

using Made = std::unique_ptr<const Codec>;
using MadeOnDevice = std::unique_ptr<const DeviceCodec>;

/// A codec's name, what describe_codecs() says about it, and how it is made. Adding a codec adds a row.
struct Entry {
  std::string_view name;
  std::string_view usage;
  std::string_view summary;
  Made (*make)(const CodecSpec& spec, Version version);
  MadeOnDevice (*make_on_device)(const CodecSpec& spec);
};

[[noreturn]] void reject(const CodecSpec& spec, std::string_view happened, std::string_view allowed) {
  throw Error(ErrorCode::invalid_argument, fmt::format("codec '{}': {}", spec.text, happened),
              fmt::format("allowed: {}", allowed));
}

void reject_options(const CodecSpec& spec) {
  if (spec.options.empty()) return;
  reject(spec, fmt::format("'{}' takes no options, but got '{}'", spec.name, spec.options.front().first),
         spec.name);
}

Made make_none(const CodecSpec& spec, Version version) {
  reject_options(spec);
  return make_plain_codec(version == Version::fast ? plain_simd_kernels() : plain_scalar_kernels());
}

MadeOnDevice make_none_on_device(const CodecSpec& spec) {
  return make_plain_device_codec(make_none(spec, Version::fast));
}

Made make_half(const CodecSpec& spec, Version version, HalfFormat format) {
  reject_options(spec);
  return make_half_codec(format,
                         version == Version::fast ? half_simd_kernels(format) : half_scalar_kernels(format));
}

Made make_fp16(const CodecSpec& spec, Version version) { return make_half(spec, version, HalfFormat::fp16); }
Made make_bf16(const CodecSpec& spec, Version version) { return make_half(spec, version, HalfFormat::bf16); }
MadeOnDevice make_fp16_on_device(const CodecSpec& spec) {
  return make_half_device_codec(make_fp16(spec, Version::fast), HalfFormat::fp16);
}
MadeOnDevice make_bf16_on_device(const CodecSpec& spec) {
  return make_half_device_codec(make_bf16(spec, Version::fast), HalfFormat::bf16);
}

std::size_t parse_block(const CodecSpec& spec, std::string_view value) {
  std::size_t block = 0;
  const char* end = value.data() + value.size();
  const auto [stop, error] = std::from_chars(value.data(), end, block);
  if (error != std::errc{} || stop != end || !std::has_single_bit(block) || block < kSmallestBlock ||
      block > kLargestBlock) {
    reject(spec, fmt::format("block={} is not possible", value),
           fmt::format("block = a power of two from {} to {}", kSmallestBlock, kLargestBlock));
  }
  return block;
}

OnebitScale parse_scale(const CodecSpec& spec, std::string_view value) {
  for (const OnebitScale scale : {OnebitScale::two_level, OnebitScale::l1, OnebitScale::l2}) {
    if (value == to_string(scale)) return scale;
  }
  reject(spec, fmt::format("scale={} is unknown", value), "scale = two-level, l1 or l2");
}

OnebitOptions parse_onebit(const CodecSpec& spec) {
  OnebitOptions options;
  for (const auto& [key, value] : spec.options) {
    if (key == "block") {
      options.block = parse_block(spec, value);
    } else if (key == "scale") {
      options.scale = parse_scale(spec, value);
    } else {
      reject(spec, fmt::format("onebit has no option '{}'", key), "block=N and scale=two-level|l1|l2");
    }
  }
  return options;
}

Made make_onebit(const CodecSpec& spec, Version version) {
  return make_onebit_codec(parse_onebit(spec),
                           version == Version::fast ? onebit_simd_kernels() : onebit_scalar_kernels());
}

MadeOnDevice make_onebit_on_device(const CodecSpec& spec) {
  return make_onebit_device_codec(make_onebit(spec, Version::fast), parse_onebit(spec));
}

constexpr std::array kEntries{
    Entry{"none", "none", "float32 as it is, 32 bits an element", make_none, make_none_on_device},
    Entry{"fp16", "fp16", "IEEE half precision, saturating, 16 bits an element", make_fp16,
          make_fp16_on_device},
    Entry{"bf16", "bf16", "bfloat16, 16 bits an element", make_bf16, make_bf16_on_device},
    Entry{"onebit", "onebit[:block=N,scale=two-level|l1|l2]",
          "signs and a scale or two per block of N (256), 1.125 bits an element", make_onebit,
          make_onebit_on_device},
};

const Entry& entry_of(const CodecSpec& spec) {
  std::string names;
  for (const Entry& entry : kEntries) {
    if (entry.name == spec.name) return entry;
    if (!names.empty()) names += ", ";
    names += entry.usage;
  }
  reject(spec, fmt::format("there is no codec named '{}'", spec.name), names);
}

std::shared_ptr<const Codec> make(std::string_view text, Version version) {
  const CodecSpec spec = parse_codec_spec(text);
  return entry_of(spec).make(spec, version);
}

}  // namespace

std::shared_ptr<const Codec> make_codec(std::string_view spec) { return make(spec, Version::fast); }

std::shared_ptr<const Codec> make_reference_codec(std::string_view spec) {
  return make(spec, Version::reference);
}

std::unique_ptr<const DeviceCodec> make_device_codec(std::string_view spec) {
  const CodecSpec parsed = parse_codec_spec(spec);
  MadeOnDevice codec = entry_of(parsed).make_on_device(parsed);
  require_device(fmt::format("codec '{}' on a device", spec));
  codec->load();
  return codec;
}

std::vector<std::string> codec_names() {
  std::vector<std::string> names;
  names.reserve(kEntries.size());
  for (const Entry& entry : kEntries) names.emplace_back(entry.name);
  return names;
}

std::string describe_codecs() {
  std::string text;
  for (const Entry& entry : kEntries) text += fmt::format("{:<40} {}\n", entry.usage, entry.summary);
  return text;
}

}  // namespace gradwire::compress
