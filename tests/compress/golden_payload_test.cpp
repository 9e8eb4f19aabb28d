// Payloads, decoded values and residuals as an independent implementation of docs/codecs.md wrote them
// (tests/golden/compress/make_golden.py).

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "codec_test_data.hpp"

namespace gradwire::compress {
namespace {

Bytes load(const std::string& spec) {
  std::string name = spec;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == ':' || c == ',' || c == '='; }, '-');
  const auto path = std::filesystem::path(GRADWIRE_TEST_DIR) / "../golden/compress" / (name + ".bin");
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path << ": add the codec to make_golden.py";
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  Bytes bytes(text.size());
  if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

/// The generator of make_golden.py.
struct Inputs {
  Inputs(std::size_t count, std::size_t poisoned) {
    for (std::size_t i = 0; i < count; ++i) {
      values.push_back(draw());
      residuals.push_back(draw());
      if (i % 37 == 0) {
        values[i] = -0.0F;
        residuals[i] = i % 2 == 1 ? 0.0F : -0.0F;
      }
      if (i % 41 == 0) {
        values[i] = std::ldexp(static_cast<float>(i) - 20.0F, -149);
        residuals[i] = 0.0F;
      }
    }
    values[poisoned] = std::numeric_limits<float>::infinity();
  }

  float draw() {
    state = state * 1664525U + 1013904223U;
    const auto mantissa = static_cast<float>(static_cast<int>(state >> 8U) - (1 << 23));
    state = state * 1664525U + 1013904223U;
    return std::ldexp(mantissa, static_cast<int>((state >> 24U) % 24U) - 34);
  }

  std::uint32_t state = 1;
  Floats values;
  Floats residuals;
};

Bytes bytes_of(const Floats& values) {
  Bytes bytes(values.size() * sizeof(float));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

void check(const Codec& codec, const Bytes& golden) {
  // One block and a short one, which holds an infinity.
  const std::size_t block = codec.id() == CodecId::onebit ? codec.block() : 256;
  const std::size_t count = block + 44;
  const Inputs inputs(count, block + 30);
  const auto wire = static_cast<std::ptrdiff_t>(codec.max_payload(count));
  const auto floats = static_cast<std::ptrdiff_t>(count * sizeof(float));
  ASSERT_EQ(golden.size(), static_cast<std::size_t>(wire + 2 * floats));
  const Bytes payload(golden.begin(), golden.begin() + wire);

  Floats after(count);
  bool finite = true;
  EXPECT_EQ(encode(codec, {inputs.values.data(), inputs.residuals.data(), after.data(), count, 1.0F / 3.0F},
                   &finite),
            payload);
  EXPECT_EQ(finite, codec.identity());
  EXPECT_EQ(bytes_of(after), Bytes(golden.begin() + wire + floats, golden.end()));
  ASSERT_TRUE(codec.valid(payload, count));
  EXPECT_EQ(bytes_of(decode(codec, payload, count)),
            Bytes(golden.begin() + wire, golden.begin() + wire + floats));
}

TEST(GoldenPayload, OfEveryCodec) {
  for (const std::string& spec : all_specs()) {
    SCOPED_TRACE(spec);
    const Bytes golden = load(spec);
    check(*make_codec(spec), golden);
    check(*make_reference_codec(spec), golden);
  }
}

}  // namespace
}  // namespace gradwire::compress
