#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace gradwire::cli {

/// Columns that line up, for rows that are printed as they come.
class Table {
 public:
  struct Column {
    std::string name;
    std::size_t width = 0;  ///< at least; the name's when that is wider
    bool number = false;    ///< to the right
  };

  explicit Table(std::vector<Column> columns);

  [[nodiscard]] std::string header() const;
  /// A cell wider than its column pushes the rest to the right.
  [[nodiscard]] std::string row(const std::vector<std::string>& cells) const;

 private:
  std::vector<Column> columns_;
};

/// A whole table at once, as wide as its cells need. `numbers` says which columns go to the right.
std::string aligned(const std::vector<std::string>& header, const std::vector<bool>& numbers,
                    const std::vector<std::vector<std::string>>& rows);

/// "4 KiB", "64 MiB", "100 B".
std::string readable_bytes(std::uint64_t bytes);
/// "1.50", "1250": two digits behind the point where they still tell something.
std::string readable_time(double value);

}  // namespace gradwire::cli
