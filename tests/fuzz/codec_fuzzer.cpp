#include <array>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "compress/codec.hpp"

namespace {

using gradwire::compress::Codec;

struct Pair {
  std::shared_ptr<const Codec> fast;
  std::shared_ptr<const Codec> reference;
};

const std::vector<Pair>& codecs() {
  static const std::vector<Pair> all = [] {
    std::vector<Pair> pairs;
    for (const char* spec :
         {"none", "fp16", "bf16", "onebit", "onebit:block=64,scale=l1", "onebit:block=1024,scale=l2"}) {
      pairs.push_back({gradwire::compress::make_codec(spec), gradwire::compress::make_reference_codec(spec)});
    }
    return pairs;
  }();
  return all;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    if (std::bit_cast<std::uint32_t>(a[i]) != std::bit_cast<std::uint32_t>(b[i])) return false;
  }
  return true;
}

}  // namespace

// A payload from a stranger: both versions of a codec agree on whether it is valid, and a valid one decodes
// to the same values, inside its bounds. The copy is exact, so that the address sanitizer sees a read past
// its end.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3) return 0;
  const auto& [fast, reference] = codecs()[data[0] % codecs().size()];
  const std::size_t count = data[1] + 256U * (data[2] % 16U);
  std::vector<std::byte> payload(size - 3);
  std::memcpy(payload.data(), data + 3, payload.size());
  if (fast->fixed_size() && (data[0] & 0x80U) != 0) payload.resize(fast->max_payload(count));

  const bool valid = fast->valid(payload, count);
  if (valid != reference->valid(payload, count)) std::abort();
  if (!valid) return 0;
  std::vector<float> a(count, 1.0F);
  std::vector<float> b(count, 1.0F);
  fast->decode_assign(payload, a.data(), count);
  reference->decode_assign(payload, b.data(), count);
  if (!same_bits(a, b)) std::abort();
  fast->decode_add(payload, a.data(), count, 1.0F);
  reference->decode_add(payload, b.data(), count, 1.0F);
  if (!same_bits(a, b)) std::abort();
  return 0;
}
