#include "trainer/idx_file.hpp"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <system_error>

#include "gradwire/error.hpp"
#include "trainer/joined.hpp"

namespace gradwire::trainer {

namespace {

constexpr std::uint8_t kUnsignedByte = 0x08;
constexpr std::size_t kMaxDimensions = 4;
constexpr std::size_t kGrowth = std::size_t{1} << 20U;

[[noreturn]] void fail(std::string_view name, std::string_view what) {
  throw Error(ErrorCode::invalid_argument, fmt::format("IDX file {}: {}", name, what),
              "download it again, or point --data-dir at a folder of intact files");
}

/// Where bytes come from: as many as asked for, fewer only at the end.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual std::size_t read(std::span<std::uint8_t> out) = 0;
};

class PlainSource final : public ByteSource {
 public:
  explicit PlainSource(std::span<const std::uint8_t> bytes) : rest_(bytes) {}

  std::size_t read(std::span<std::uint8_t> out) override {
    const std::size_t count = std::min(out.size(), rest_.size());
    if (count != 0) std::memcpy(out.data(), rest_.data(), count);
    rest_ = rest_.subspan(count);
    return count;
  }

 private:
  std::span<const std::uint8_t> rest_;
};

/// One gzip member; reading to its end checks its length and CRC.
class GzipSource final : public ByteSource {
 public:
  GzipSource(std::span<const std::uint8_t> bytes, std::string_view name) : rest_(bytes), name_(name) {
    constexpr int kGzipOnly = 16;
    if (inflateInit2(&stream_, MAX_WBITS + kGzipOnly) != Z_OK) {
      throw Error(ErrorCode::system, "zlib could not start", "free some memory and try again");
    }
  }
  ~GzipSource() override { inflateEnd(&stream_); }
  GzipSource(const GzipSource&) = delete;
  GzipSource& operator=(const GzipSource&) = delete;

  std::size_t read(std::span<std::uint8_t> out) override {
    std::size_t done = 0;
    while (done < out.size() && !ended_) {
      const auto input = static_cast<uInt>(std::min(rest_.size(), kGrowth));
      const auto room = static_cast<uInt>(std::min(out.size() - done, kGrowth));
      stream_.next_in = const_cast<Bytef*>(rest_.data());  // zlib only reads it
      stream_.avail_in = input;
      stream_.next_out = out.data() + done;
      stream_.avail_out = room;
      const int status = inflate(&stream_, Z_NO_FLUSH);
      rest_ = rest_.subspan(input - stream_.avail_in);
      done += room - stream_.avail_out;
      if (status == Z_STREAM_END) {
        ended_ = true;
        if (!rest_.empty())
          fail(name_, fmt::format("{} bytes follow the end of the gzip data", rest_.size()));
      } else if (status == Z_BUF_ERROR) {
        fail(name_, "the gzip data is truncated");
      } else if (status != Z_OK) {
        fail(name_, fmt::format("the gzip data is damaged ({})",
                                stream_.msg != nullptr ? stream_.msg : "zlib gives no reason"));
      }
    }
    return done;
  }

 private:
  std::span<const std::uint8_t> rest_;
  std::string_view name_;
  z_stream stream_{};
  bool ended_ = false;
};

std::uint32_t big_endian(std::span<const std::uint8_t, 4> bytes) {
  return (std::uint32_t{bytes[0]} << 24U) | (std::uint32_t{bytes[1]} << 16U) |
         (std::uint32_t{bytes[2]} << 8U) | bytes[3];
}

std::vector<std::uint32_t> read_dimensions(ByteSource& source, std::string_view name) {
  std::array<std::uint8_t, 4> word{};
  if (source.read(word) != word.size()) fail(name, "it is shorter than its 4 bytes of magic");
  if (word[0] != 0 || word[1] != 0) {
    fail(name, fmt::format("wrong magic {:02x}{:02x}{:02x}{:02x}, an IDX file begins with 0000", word[0],
                           word[1], word[2], word[3]));
  }
  if (word[2] != kUnsignedByte) {
    fail(name,
         fmt::format("its element type is 0x{:02x}, only unsigned bytes (0x08) are supported", word[2]));
  }
  const std::size_t count = word[3];
  if (count == 0 || count > kMaxDimensions) {
    fail(name, fmt::format("it has {} dimensions, 1 to {} are supported", count, kMaxDimensions));
  }
  std::vector<std::uint32_t> dimensions(count);
  for (auto& dimension : dimensions) {
    if (source.read(word) != word.size()) fail(name, "it is truncated inside its dimensions");
    dimension = big_endian(word);
  }
  return dimensions;
}

std::size_t announced_bytes(const std::vector<std::uint32_t>& dimensions, std::string_view name) {
  std::size_t total = 1;
  for (const auto dimension : dimensions) {
    if (dimension == 0) fail(name, "one of its dimensions is 0");
    total *= dimension;  // no overflow: total <= 2^30 and dimension < 2^32
    if (total > kMaxIdxBytes) {
      fail(name, fmt::format("it announces {} bytes of values, more than the limit of {}",
                             joined(dimensions, " x "), kMaxIdxBytes));
    }
  }
  return total;
}

}  // namespace

IdxArray parse_idx(std::span<const std::uint8_t> bytes, std::string_view name) {
  const bool gzip = bytes.size() >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
  const std::unique_ptr<ByteSource> source =
      gzip ? std::unique_ptr<ByteSource>(std::make_unique<GzipSource>(bytes, name))
           : std::make_unique<PlainSource>(bytes);
  IdxArray array;
  array.dimensions = read_dimensions(*source, name);
  const std::size_t total = announced_bytes(array.dimensions, name);
  std::size_t have = 0;
  while (have < total) {
    const std::size_t want = std::min(total - have, std::max(have, kGrowth));
    array.values.resize(have + want);
    const std::size_t got = source->read(std::span(array.values).subspan(have));
    have += got;
    if (got != want) {
      fail(name, fmt::format("it is truncated: {} bytes of values announced, {} found", total, have));
    }
  }
  std::array<std::uint8_t, 1> extra{};
  if (source->read(extra) != 0)
    fail(name, fmt::format("bytes follow the {} bytes of values announced", total));
  return array;
}

IdxArray read_idx(const std::filesystem::path& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (error) {
    throw Error(ErrorCode::system, fmt::format("cannot open {}: {}", path.string(), error.message()),
                "check --data-dir");
  }
  constexpr std::size_t kHeader = 4 + 4 * kMaxDimensions;
  if (size > kMaxIdxBytes + kHeader)
    fail(path.string(), fmt::format("{} bytes are more than the limit", size));
  std::vector<std::uint8_t> bytes(size);
  std::ifstream file(path, std::ios::binary);
  if (!file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size))) {
    throw Error(ErrorCode::system, fmt::format("cannot read {}", path.string()), "check --data-dir");
  }
  return parse_idx(bytes, path.string());
}

}  // namespace gradwire::trainer
