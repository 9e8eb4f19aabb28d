#pragma once

#include <string>
#include <string_view>

namespace gradwire::cli {

/// Turns what a process prints, as it comes in pieces, into whole lines that begin with a prefix.
class LinePrefixer {
 public:
  /// A line longer than this is cut, so that nobody has to be waited for without end.
  static constexpr std::size_t kLongestLine = 1U << 16U;

  explicit LinePrefixer(std::string prefix) : prefix_(std::move(prefix)) {}

  /// Appends to `out` the lines that are complete now.
  void feed(std::string_view bytes, std::string& out);
  /// Appends what is left, as a line.
  void finish(std::string& out);

 private:
  void emit(std::string_view line, std::string& out) const;

  std::string prefix_;
  std::string partial_;
};

}  // namespace gradwire::cli
