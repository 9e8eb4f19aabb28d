// Arbitrary bytes as payloads of every codec: valid() decides, and what it lets through must decode without
// reading outside, the same every time and the same as by the scalar reference.

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "compress/codec.hpp"

namespace {

using gradwire::compress::Codec;
using gradwire::compress::Encode;
using Bytes = std::vector<std::byte>;
using Floats = std::vector<float>;

struct Pair {
  std::shared_ptr<const Codec> fast;
  std::shared_ptr<const Codec> reference;
};

const std::vector<Pair>& codecs() {
  static const std::vector<Pair> kCodecs = [] {
    std::vector<Pair> all;
    for (const char* spec : {"none", "fp16", "bf16", "onebit", "onebit:scale=l1", "onebit:block=64,scale=l2",
                             "onebit:block=16", "onebit:block=1024"}) {
      all.push_back({gradwire::compress::make_codec(spec), gradwire::compress::make_reference_codec(spec)});
    }
    return all;
  }();
  return kCodecs;
}

void require(bool condition) {
  if (!condition) std::abort();
}

/// Bit for bit, but for which NaN it is: an addition may give any.
bool same(const Floats& a, const Floats& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    if (std::bit_cast<std::uint32_t>(a[i]) != std::bit_cast<std::uint32_t>(b[i])) return false;
  }
  return a.size() == b.size();
}

struct Outcome {
  Floats assigned;
  Floats added;
  Floats residual;
  Bytes forwarded;
  bool finite = true;
};

Outcome use(const Codec& codec, const Bytes& payload, std::size_t count, float factor) {
  // Vectors of the exact size, so that the address sanitizer sees one byte too many.
  Outcome outcome{Floats(count), Floats(count, 0.75F), Floats(count, 0.125F), Bytes(codec.max_payload(count)),
                  true};
  codec.decode_assign(payload, outcome.assigned.data(), count);
  codec.decode_add(payload, outcome.added.data(), count, factor);
  const Floats value(count, -1.5F);
  const Encode in{value.data(), outcome.residual.data(), outcome.residual.data(), count, 1.0F};
  outcome.finite = codec.add_then_encode(payload, factor, in, outcome.forwarded.data()).finite;
  require(codec.valid(outcome.forwarded, count));
  return outcome;
}

void compare(const Outcome& a, const Outcome& b, bool any_nan_payload) {
  require(same(a.assigned, b.assigned));
  require(same(a.added, b.added));
  require(same(a.residual, b.residual));
  require(any_nan_payload || a.forwarded == b.forwarded);
  require(a.finite == b.finite);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kHeader = 4;
  if (size < kHeader) return 0;
  const Pair& codec = codecs()[data[0] % codecs().size()];
  const std::size_t count = data[1] + 256U * (data[2] % 16U);
  const float factor = (data[3] & 1U) != 0 ? 3.0F : 1.0F;
  Bytes payload(size - kHeader);
  if (!payload.empty()) std::memcpy(payload.data(), data + kHeader, payload.size());
  // Half of the inputs keep whatever length they have, the others get the one that fits.
  if ((data[3] & 2U) != 0) payload.resize(codec.fast->max_payload(count));

  const bool valid = codec.fast->valid(payload, count);
  require(valid == codec.reference->valid(payload, count));
  if (!valid) return 0;
  const Outcome first = use(*codec.fast, payload, count, factor);
  compare(first, use(*codec.fast, payload, count, factor), false);
  compare(first, use(*codec.reference, payload, count, factor), codec.fast->identity());
  return 0;
}
