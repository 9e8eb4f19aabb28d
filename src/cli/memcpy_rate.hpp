#pragma once

#include <vector>

namespace gradwire::cli {

/// What rates are compared with: how fast one core copies memory that no cache holds.
class MemcpyRate {
 public:
  MemcpyRate();

  /// Bytes copied a nanosecond, now: the median of a few copies.
  double measure();

 private:
  std::vector<char> from_;
  std::vector<char> to_;
};

}  // namespace gradwire::cli
