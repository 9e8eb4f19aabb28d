#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "codec_test_data.hpp"
#include "gradwire/error.hpp"

namespace gradwire::compress {
namespace {

using testing::HasSubstr;

TEST(CodecRegistry, SpecsAreCanonical) {
  for (const std::string& spec : all_specs()) {
    const auto codec = make_codec(spec);
    EXPECT_EQ(codec->spec(), spec);
    EXPECT_EQ(make_codec(codec->spec())->spec(), codec->spec());
    EXPECT_EQ(make_reference_codec(spec)->spec(), codec->spec());
  }
  EXPECT_EQ(make_codec("onebit:scale=two-level,block=256")->spec(), "onebit");
  EXPECT_EQ(make_codec("onebit:scale=l2,block=64")->spec(), "onebit:block=64,scale=l2");
}

TEST(CodecRegistry, Properties) {
  const auto none = make_codec("none");
  EXPECT_EQ(none->id(), CodecId::none);
  EXPECT_TRUE(none->identity());
  EXPECT_FALSE(none->lossy());
  const auto fp16 = make_codec("fp16");
  EXPECT_EQ(fp16->id(), CodecId::fp16);
  EXPECT_TRUE(fp16->narrow_range());
  EXPECT_TRUE(fp16->lossy());
  EXPECT_EQ(make_codec("bf16")->id(), CodecId::bf16);
  EXPECT_FALSE(make_codec("bf16")->narrow_range());
  const auto onebit = make_codec("onebit:block=64");
  EXPECT_EQ(onebit->id(), CodecId::onebit);
  EXPECT_EQ(onebit->block(), 64U);
  EXPECT_EQ(make_codec("onebit")->block(), 256U);
  for (const std::string& spec : all_specs()) {
    EXPECT_TRUE(make_codec(spec)->fixed_size());
    EXPECT_EQ(make_codec(spec)->block() % 16, 0U) << "pieces of every codec begin at multiples of 16";
  }
}

TEST(CodecRegistry, WireBytesEqualTheFormula) {
  for (std::size_t n = 0; n <= 2100; ++n) {
    EXPECT_EQ(make_codec("none")->max_payload(n), 4 * n);
    EXPECT_EQ(make_codec("fp16")->max_payload(n), 2 * n);
    EXPECT_EQ(make_codec("bf16")->max_payload(n), 2 * n);
    for (const auto& [spec, block, scales] :
         {std::tuple{"onebit", 256, 4}, std::tuple{"onebit:scale=l1", 256, 2},
          std::tuple{"onebit:block=64,scale=l2", 64, 2}}) {
      std::size_t bytes = 0;
      for (std::size_t left = n; left > 0;) {
        const std::size_t in_block = std::min<std::size_t>(left, static_cast<std::size_t>(block));
        bytes += static_cast<std::size_t>(scales) + (in_block + 7) / 8;
        left -= in_block;
      }
      EXPECT_EQ(make_codec(spec)->max_payload(n), bytes) << spec << " of " << n;
    }
  }
  EXPECT_EQ(make_codec("onebit")->max_payload(1U << 20U) * 8, (1U << 20U) * 9 / 8) << "1.125 bits an element";
}

std::string message_of(std::string_view spec) {
  try {
    (void)make_codec(spec);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    return error.what();
  }
  ADD_FAILURE() << "accepted '" << spec << "'";
  return {};
}

TEST(CodecRegistry, ErrorsListWhatIsAllowed) {
  for (const char* unknown : {"", "twobit", "Onebit", "none ", "auto"}) {
    EXPECT_THAT(message_of(unknown), HasSubstr("allowed: none, fp16, bf16, onebit[:block=N")) << unknown;
  }
  EXPECT_THAT(message_of("onebit:bloc=64"), HasSubstr("no option 'bloc'"));
  EXPECT_THAT(message_of("onebit:bloc=64"), HasSubstr("block=N and scale=two-level|l1|l2"));
  for (const char* block :
       {"0", "3", "8", "255", "131072", "-256", "0x100", "256 ", "1e3", "99999999999999999999"}) {
    EXPECT_THAT(message_of(std::string("onebit:block=") + block),
                HasSubstr("a power of two from 16 to 65536"))
        << block;
  }
  EXPECT_THAT(message_of("onebit:scale=l3"), HasSubstr("two-level, l1 or l2"));
  EXPECT_THAT(message_of("fp16:block=64"), HasSubstr("takes no options"));
  EXPECT_THAT(message_of("onebit:block=64,block=64"), HasSubstr("given twice"));
  for (const char* malformed :
       {"onebit:", "onebit:block", "onebit:block=", "onebit:=64", "onebit:block=64,", "none:"}) {
    EXPECT_THAT(message_of(malformed), HasSubstr("option=value")) << malformed;
  }
}

TEST(CodecRegistry, DescribesEveryCodec) {
  for (const char* name : {"none", "fp16", "bf16", "onebit", "two-level|l1|l2"}) {
    EXPECT_THAT(describe_codecs(), HasSubstr(name));
  }
}

}  // namespace
}  // namespace gradwire::compress
