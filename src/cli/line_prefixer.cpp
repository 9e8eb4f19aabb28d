#include "cli/line_prefixer.hpp"

#include <algorithm>

namespace gradwire::cli {

void LinePrefixer::feed(std::string_view bytes, std::string& out) {
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\n');
    const std::size_t room = kLongestLine - partial_.size();
    const bool whole = end != std::string_view::npos && end <= room;
    const std::size_t taken = whole ? end : std::min(bytes.size(), room);
    partial_ += bytes.substr(0, taken);
    bytes.remove_prefix(whole ? taken + 1 : taken);
    if (whole || partial_.size() == kLongestLine) {
      emit(partial_, out);
      partial_.clear();
    }
  }
}

void LinePrefixer::finish(std::string& out) {
  if (!partial_.empty()) emit(partial_, out);
  partial_.clear();
}

void LinePrefixer::emit(std::string_view line, std::string& out) const {
  out += prefix_;
  out += line;
  out += '\n';
}

}  // namespace gradwire::cli
