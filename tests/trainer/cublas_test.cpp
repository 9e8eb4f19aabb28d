#include "trainer/device/cublas.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "gradwire/error.hpp"
#include "trainer/gemm.hpp"
#include "trainer/random.hpp"

#if __has_include(<cublas_v2.h>)
#include <cublas_v2.h>
#endif

namespace gradwire::trainer {
namespace {

using testing::HasSubstr;

#if __has_include(<cublas_v2.h>)

/// Enumerations are passed as ints, streams and handles as pointers.
template <class Theirs, class Ours>
constexpr bool passed_alike() {
  if constexpr (std::is_enum_v<Theirs>) {
    return std::is_same_v<Ours, int> && sizeof(Theirs) == sizeof(int);
  } else if constexpr (std::is_pointer_v<Theirs> && std::is_pointer_v<Ours>) {
    return std::is_same_v<Theirs, Ours> || std::is_same_v<Theirs, cublasHandle_t> ||
           std::is_same_v<Theirs, cublasHandle_t*>;
  } else {
    return std::is_same_v<Theirs, Ours>;
  }
}

template <class TheirResult, class... Theirs, class OurResult, class... Ours>
constexpr bool called_alike(TheirResult (* /*theirs*/)(Theirs...), OurResult (* /*ours*/)(Ours...)) {
  if constexpr (sizeof...(Theirs) == sizeof...(Ours)) {
    return passed_alike<TheirResult, OurResult>() && (passed_alike<Theirs, Ours>() && ...);
  }
  return false;
}

template <class Ours>
constexpr std::remove_reference_t<Ours> kNone = nullptr;

static_assert(called_alike(&cublasCreate_v2, kNone<decltype(CublasLibrary::create)>));
static_assert(called_alike(&cublasDestroy_v2, kNone<decltype(CublasLibrary::destroy)>));
static_assert(called_alike(&cublasSetStream_v2, kNone<decltype(CublasLibrary::set_stream)>));
static_assert(called_alike(&cublasSetMathMode, kNone<decltype(CublasLibrary::set_math_mode)>));
static_assert(called_alike(&cublasSgemm_v2, kNone<decltype(CublasLibrary::sgemm)>));
static_assert(called_alike(&cublasGetStatusName, kNone<decltype(CublasLibrary::status_name)>));
static_assert(CUBLAS_STATUS_ALLOC_FAILED == 3 && CUBLAS_STATUS_ARCH_MISMATCH == 8);
static_assert(CUBLAS_STATUS_SUCCESS == 0 && CUBLAS_DEFAULT_MATH == 0 && CUBLAS_OP_N == 0 && CUBLAS_OP_T == 1);

#endif

std::vector<float> random_matrix(int rows, int columns, std::uint64_t seed) {
  Random random(seed);
  std::vector<float> values(static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns));
  for (float& value : values) value = static_cast<float>(random.normal());
  return values;
}

TEST(Cublas, MultipliesRowMajorMatrices) {
  const CublasLibrary library(GRADWIRE_FAKE_CUBLAS);
  const Cublas cublas(library, nullptr);
  set_gemm_threads(1);
  for (const Transpose transpose_a : {Transpose::no, Transpose::yes}) {
    for (const Transpose transpose_b : {Transpose::no, Transpose::yes}) {
      for (const auto& [m, n, k] : {std::array{3, 5, 7}, std::array{1, 4, 2}, std::array{6, 1, 3}}) {
        const auto a = random_matrix(m, k, 1);
        const auto b = random_matrix(k, n, 2);
        auto c = std::vector<float>(static_cast<std::size_t>(m * n), std::numeric_limits<float>::quiet_NaN());
        auto expected = c;
        cublas.gemm(transpose_a, transpose_b, m, n, k, a.data(), b.data(), c.data());
        gemm(transpose_a, transpose_b, m, n, k, a.data(), b.data(), expected.data());
        for (std::size_t i = 0; i < c.size(); ++i) EXPECT_NEAR(c[i], expected[i], 1e-5) << m << n << k;
      }
    }
  }
  // Of a step without samples.
  cublas.gemm(Transpose::no, Transpose::no, 0, 4, 3, nullptr, nullptr, nullptr);
}

TEST(Cublas, SaysWhatItLacks) {
  const auto message = [](const char* file) -> std::string {
    try {
      const CublasLibrary library(file);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::unsupported);
      return error.what();
    }
    return "loaded";
  };
  EXPECT_THAT(message("libno_such_cublas.so.1"),
              HasSubstr("cuBLAS cannot be loaded: libno_such_cublas.so.1"));
  EXPECT_THAT(message("libno_such_cublas.so.1"), HasSubstr("LD_LIBRARY_PATH, or use --device cpu"));
  EXPECT_THAT(message("libz.so.1"), HasSubstr("it lacks cublasCreate_v2"));
}

}  // namespace
}  // namespace gradwire::trainer
