// What a client computes has the same bits in whatever floating-point mode the threads that use it are.

#include <gtest/gtest.h>

#include <bit>
#include <cfenv>
#include <cstdint>
#include <future>
#include <memory>
#include <vector>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "gradwire/error.hpp"
#include "server/client_key.hpp"
#include "server_calls.hpp"
#include "servers.hpp"
#include "tests/support/normal_floats.hpp"

namespace gradwire::server {
namespace {

constexpr std::size_t kCount = 3000;
constexpr int kSteps = 6;

/// The second half is so small that what comes of it is subnormal.
Floats gradient_of(int step) {
  Floats gradient = normal_floats(kCount, static_cast<unsigned>(step));
  for (std::size_t i = kCount / 2; i < kCount; ++i) gradient[i] *= 1e-38F;
  return gradient;
}

struct Bits {
  explicit Bits(const Floats& values) {
    for (const float value : values) bits.push_back(std::bit_cast<std::uint32_t>(value));
  }
  bool operator==(const Bits&) const = default;
  std::vector<std::uint32_t> bits;
};

struct Result {
  Bits value;
  Bits residual;
};

struct Mode {
  const char* name;
  void (*set)();
};

constexpr Mode kModes[] = {
    {"upward", [] { std::fesetround(FE_UPWARD); }},
#if defined(__SSE2__)
    {"flush_to_zero", [] { _mm_setcsr(_mm_getcsr() | 0x8040U); }},
#endif
};

class FloatModes : public testing::TestWithParam<Mode> {
 protected:
  /// What `function` returns on a thread in the mode, whose own threads inherit that.
  template <typename Function>
  static auto in_mode(const Function& function) {
    return std::async(std::launch::async,
                      [&] {
                        GetParam().set();
                        return function();
                      })
        .get();
  }
};
INSTANTIATE_TEST_SUITE_P(Modes, FloatModes, testing::ValuesIn(kModes),
                         [](const auto& test) { return test.param.name; });

TEST_P(FloatModes, LeaveTheBitsOfValuesAndResiduals) {
  std::vector<Floats> gradients;
  gradients.reserve(kSteps);
  for (int step = 0; step < kSteps; ++step) gradients.push_back(gradient_of(step));
  const Floats initial = gradient_of(kSteps);
  const auto trained = [&] {
    const Servers servers(1);
    auto options = servers.client(0, 1);
    options.push_codec = options.pull_codec = "onebit";
    ParameterServerClient client(options);
    Floats value = initial;
    client.init("key", value, {.optimizer = "sgd:lr=0.1"});
    for (Floats& gradient : gradients) {
      Work work = client.push_pull("key", gradient, value);
      client.clock();
      work.wait();
    }
    client.flush();
    return Result{Bits(value), Bits(client.residual("key"))};
  };
  const Result expected = trained();
  const Result result = in_mode(trained);
  EXPECT_TRUE(result.value == expected.value);
  EXPECT_TRUE(result.residual == expected.residual);
}

/// By the thread that pushes, where its session has ended before.
TEST_P(FloatModes, LeaveTheBitsOfWhatIsGivenBack) {
  const std::shared_ptr<const compress::Codec> codec = compress::make_codec("onebit");
  Floats first = gradient_of(1);
  Floats second = gradient_of(2);
  const auto residual = [&] {
    ClientKey key("key", first, 1, codec, *codec);
    const auto push = [&](Floats& gradient) {
      return key.push(gradient, 0, std::make_shared<ClientOperation>(key.shards()));
    };
    const auto refused = push(first);
    (void)push(second);
    for (const auto& request : refused) request->refuse(Error(ErrorCode::peer_lost, "", ""));
    return Bits(key.residual());
  };
  const Bits expected = residual();
  EXPECT_TRUE(in_mode(residual) == expected);
}

}  // namespace
}  // namespace gradwire::server
