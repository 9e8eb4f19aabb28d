#include "gradwire/tensor.hpp"

namespace gradwire {

std::size_t size_of(DType dtype) noexcept { return dtype == DType::float32 ? 4 : 2; }

std::string_view to_string(DType dtype) noexcept {
  switch (dtype) {
    case DType::float32: return "float32";
    case DType::bfloat16: return "bfloat16";
    case DType::float16: return "float16";
  }
  return "unknown";
}

}  // namespace gradwire
