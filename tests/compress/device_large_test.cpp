// More elements than a signed 32-bit number counts, against the scalar definition where it pays to look.
// Skipped where there is no CUDA device, or none with the memory.

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>

#include "compress/cuda/device_codec.hpp"
#include "encoding_case.hpp"
#include "gradwire/error.hpp"

namespace gradwire::compress {
namespace {

constexpr std::size_t kPeriod = 65536;  // a multiple of every block
constexpr std::size_t kTail = 77;
constexpr std::size_t kCount = (std::size_t{1} << 31U) + kTail;

/// Device memory that holds the same kPeriod elements again and again.
class Repeated {
 public:
  Repeated(const OwnStream& stream, const Floats& elements)
      : stream_(stream), memory_(allocate_device(kCount * sizeof(float))) {
    std::size_t done = elements.size() * sizeof(float);
    copy_on(stream.get(), memory_.get(), elements.data(), done);
    while (done < kCount * sizeof(float)) {
      const std::size_t more = std::min(done, kCount * sizeof(float) - done);
      copy_on(stream.get(), memory_.get() + done, memory_.get(), more);
      done += more;
    }
  }

  [[nodiscard]] float* floats() const { return reinterpret_cast<float*>(memory_.get()); }
  [[nodiscard]] Floats fetch(std::size_t from, std::size_t count) const {
    Floats part(count);
    copy_on(stream_.get(), part.data(), floats() + from, count * sizeof(float));
    stream_.wait();
    return part;
  }

 private:
  const OwnStream& stream_;
  DeviceMemory memory_;
};

/// In place: encodes, and adds what that decodes to.
void compare(const std::string& spec) {
  const OwnStream stream;
  const NonFiniteFlag flag;
  const auto device = make_device_codec(spec);
  const auto reference = make_reference_codec(spec);
  const Floats value = normal_floats(kPeriod, 1);
  const Floats residual = normal_floats(kPeriod, 2);
  const Repeated values(stream, value);
  const Repeated residuals(stream, residual);
  const DeviceMemory payload = allocate_device(reference->max_payload(kCount));
  flag.clear_on(stream.get());
  device->encode({values.floats(), residuals.floats(), residuals.floats(), kCount, 1.0F}, payload.get(),
                 {stream.get(), flag.word()});
  device->decode_add(payload.get(), values.floats(), kCount, 1.0F, stream.get());
  flag.fetch_on(stream.get());

  for (const std::size_t from :
       {std::size_t{0}, kCount / 2 / kPeriod * kPeriod, kCount - kTail - kPeriod, kCount - kTail}) {
    const std::size_t count = std::min(kPeriod, kCount - from);
    Floats sum(value.data(), value.data() + count);
    const Work work{sum, {residual.data(), residual.data() + count}, 1.0F, {}, 0};
    const Outcome expected = run(*reference, work, Mode::in_place);
    reference->decode_add(expected.payload, sum.data(), count, 1.0F);
    Bytes part(expected.payload.size());
    copy_on(stream.get(), part.data(), payload.get() + reference->max_payload(from), part.size());
    stream.wait();
    ASSERT_EQ(part, expected.payload) << "from element " << from;
    ASSERT_EQ(patterns(residuals.fetch(from, count)), patterns(expected.residual)) << "from element " << from;
    ASSERT_EQ(patterns(values.fetch(from, count)), patterns(sum)) << "from element " << from;
  }
  EXPECT_FALSE(flag.raised());
}

class DeviceLarge : public testing::TestWithParam<const char*> {};

TEST_P(DeviceLarge, MoreElementsThan31BitsCount) {
  if (const std::string reason = why_no_device(); !reason.empty()) GTEST_SKIP() << reason;
  try {
    compare(GetParam());
  } catch (const Error& error) {
    if (std::string_view(error.what()).find("could not allocate") == std::string_view::npos) throw;
    GTEST_SKIP() << error.what();
  }
}

std::string name_of(const testing::TestParamInfo<const char*>& info) {
  std::string name = info.param;
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Codecs, DeviceLarge,
                         testing::Values("none", "fp16", "bf16", "onebit", "onebit:block=4096",
                                         "onebit:scale=l2"),
                         name_of);

}  // namespace
}  // namespace gradwire::compress
