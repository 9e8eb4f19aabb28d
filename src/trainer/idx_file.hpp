#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

namespace gradwire::trainer {

/// An array of unsigned bytes as IDX files hold it, last dimension fastest.
struct IdxArray {
  std::vector<std::uint32_t> dimensions;
  std::vector<std::uint8_t> values;
};

/// The most bytes of values that a file may announce.
inline constexpr std::size_t kMaxIdxBytes = std::size_t{1} << 30U;

/// Parses an IDX file, plain or gzip-compressed, from memory. Memory grows with the bytes that are really
/// there, never with what the header announces. Throws Error(invalid_argument) that names `name` and what is
/// wrong with it.
IdxArray parse_idx(std::span<const std::uint8_t> bytes, std::string_view name);

/// parse_idx of a file's bytes. Throws Error: system when it can't be read.
IdxArray read_idx(const std::filesystem::path& path);

}  // namespace gradwire::trainer
