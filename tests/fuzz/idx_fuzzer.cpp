#include <cstdlib>
#include <functional>
#include <numeric>

#include "gradwire/error.hpp"
#include "trainer/idx_file.hpp"

// Any file is refused as invalid_argument, or holds as many values as its dimensions say.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const gradwire::trainer::IdxArray array = gradwire::trainer::parse_idx({data, size}, "fuzzed");
    const auto product = std::accumulate(array.dimensions.begin(), array.dimensions.end(), std::size_t{1},
                                         std::multiplies<>());
    if (array.dimensions.empty() || array.values.size() != product) std::abort();
  } catch (const gradwire::Error& error) {
    if (error.code() != gradwire::ErrorCode::invalid_argument) std::abort();
  }
  return 0;
}
