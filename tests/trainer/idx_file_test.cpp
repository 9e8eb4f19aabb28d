#include "trainer/idx_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <string>

#include "gradwire/error.hpp"
#include "idx_bytes.hpp"
#include "tests/support/temporary_folder.hpp"

namespace gradwire::trainer {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

Bytes counting(std::size_t count) {
  Bytes values(count);
  std::iota(values.begin(), values.end(), std::uint8_t{0});
  return values;
}

void expect_refused(const Bytes& bytes, const std::string& reason) {
  try {
    parse_idx(bytes, "some.idx");
    ADD_FAILURE() << "accepted, expected: " << reason;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("some.idx"), HasSubstr(reason)));
  }
}

TEST(IdxFile, reads_plain_and_compressed_files) {
  const Bytes values = counting(24);
  const Bytes plain = idx_bytes({2, 3, 4}, values);
  for (const Bytes& bytes : {plain, gzip(plain)}) {
    const IdxArray array = parse_idx(bytes, "some.idx");
    EXPECT_THAT(array.dimensions, ElementsAre(2, 3, 4));
    EXPECT_EQ(array.values, values);
  }
}

TEST(IdxFile, reads_files_larger_than_its_buffers) {
  const Bytes values = counting(5'000'000);
  const Bytes plain = idx_bytes({5, 1'000'000}, values);
  EXPECT_EQ(parse_idx(plain, "some.idx").values, values);
  EXPECT_EQ(parse_idx(gzip(plain), "some.idx").values, values);
}

TEST(IdxFile, refuses_every_truncation) {
  const Bytes plain = idx_bytes({2, 3}, counting(6));
  const Bytes packed = gzip(plain);
  for (std::size_t size = 0; size < plain.size(); ++size) {
    EXPECT_THROW(parse_idx(std::span(plain).first(size), "some.idx"), Error) << size;
  }
  for (std::size_t size = 0; size < packed.size(); ++size) {
    EXPECT_THROW(parse_idx(std::span(packed).first(size), "some.idx"), Error) << size;
  }
  expect_refused(Bytes(plain.begin(), plain.end() - 1), "6 bytes of values announced, 5 found");
  expect_refused(gzip(std::span(plain).first(plain.size() - 1)), "6 bytes of values announced, 5 found");
  expect_refused(Bytes(packed.begin(), packed.end() - 1), "gzip data is truncated");
}

TEST(IdxFile, refuses_bytes_after_the_values) {
  Bytes longer = idx_bytes({2, 3}, counting(7));
  expect_refused(longer, "bytes follow");
  expect_refused(gzip(longer), "bytes follow");
  Bytes packed = gzip(idx_bytes({2, 3}, counting(6)));
  packed.push_back(0);
  expect_refused(packed, "follow the end of the gzip data");
}

TEST(IdxFile, refuses_damaged_gzip_data) {
  const Bytes packed = gzip(idx_bytes({16, 16}, counting(256)));
  // Byte 10 begins a stored block, whose padding bits mean nothing; bytes 4 to 9 are a time and hints.
  for (std::size_t i = 11; i < packed.size(); ++i) {
    Bytes damaged = packed;
    damaged[i] ^= 0x10U;
    EXPECT_THROW(parse_idx(damaged, "some.idx"), Error) << i;
  }
}

TEST(IdxFile, refuses_wrong_magic_and_types) {
  Bytes bytes = idx_bytes({6}, counting(6));
  bytes[0] = 'P';
  expect_refused(bytes, "wrong magic 50");
  bytes[0] = 0;
  bytes[2] = 0x0D;
  expect_refused(bytes, "element type is 0x0d");
  bytes[2] = 8;
  bytes[3] = 0;
  expect_refused(bytes, "0 dimensions");
  bytes[3] = 9;
  expect_refused(bytes, "9 dimensions");
  expect_refused(idx_bytes({0, 5}, {}), "dimensions is 0");
}

TEST(IdxFile, does_not_believe_sizes_that_lie) {
  expect_refused(idx_bytes({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {}), "more than the limit");
  expect_refused(idx_bytes({1U << 30U, 2}, {}), "more than the limit");
  // Within the limit: it must notice without reading or reserving a gigabyte.
  expect_refused(idx_bytes({1U << 30U}, counting(100)), "1073741824 bytes of values announced, 100 found");
}

TEST(IdxFile, names_files_that_cannot_be_read) {
  const TemporaryFolder folder;
  try {
    read_idx(folder.path() / "absent");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::system);
    EXPECT_THAT(error.what(), HasSubstr("absent"));
  }
  EXPECT_THROW(read_idx(folder.path()), Error) << "a folder is no file";
  write_file(folder.path() / "empty", {});
  EXPECT_THROW(read_idx(folder.path() / "empty"), Error);
}

}  // namespace
}  // namespace gradwire::trainer
