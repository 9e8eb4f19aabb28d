#include "cli/table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace gradwire::cli {

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {
  for (auto& column : columns_) column.width = std::max(column.width, column.name.size());
}

std::string Table::header() const {
  std::vector<std::string> names;
  for (const auto& column : columns_) names.push_back(column.name);
  return row(names);
}

std::string Table::row(const std::vector<std::string>& cells) const {
  std::string out;
  for (std::size_t i = 0; i < columns_.size() && i < cells.size(); ++i) {
    if (i > 0) out += "  ";
    out += columns_[i].number ? fmt::format("{:>{}}", cells[i], columns_[i].width)
                              : fmt::format("{:<{}}", cells[i], columns_[i].width);
  }
  out.erase(out.find_last_not_of(' ') + 1);
  out += '\n';
  return out;
}

std::string aligned(const std::vector<std::string>& header, const std::vector<bool>& numbers,
                    const std::vector<std::vector<std::string>>& rows) {
  std::vector<Table::Column> columns;
  for (std::size_t i = 0; i < header.size(); ++i) {
    std::size_t width = header[i].size();
    for (const auto& row : rows) width = std::max(width, row.at(i).size());
    columns.push_back({header[i], width, numbers.at(i)});
  }
  const Table table(std::move(columns));
  std::string out = table.header();
  for (const auto& row : rows) out += table.row(row);
  return out;
}

std::string readable_bytes(std::uint64_t bytes) {
  constexpr std::array kUnits{"B", "KiB", "MiB", "GiB"};
  std::size_t unit = 0;
  std::uint64_t value = bytes;
  while (unit + 1 < kUnits.size() && value >= 1024 && value % 1024 == 0) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{} {}", value, kUnits.at(unit));
}

std::string readable_time(double value) {
  return value < 100 ? fmt::format("{:.2f}", value) : fmt::format("{:.0f}", value);
}

}  // namespace gradwire::cli
