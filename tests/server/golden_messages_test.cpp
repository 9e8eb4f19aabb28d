#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "gradwire/error.hpp"
#include "sample_messages.hpp"

namespace gradwire::server {
namespace {

std::filesystem::path golden_file(const std::string& name) {
  return std::filesystem::path(GRADWIRE_TEST_DIR) / "../golden/server" / name;
}

std::vector<std::byte> load(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

std::vector<std::byte> good(const std::string& name) { return load(golden_file("good-" + name + ".bin")); }

TEST(GoldenMessages, AreWrittenSo) {
  for (const auto& [name, request] : sample_requests())
    EXPECT_EQ(write_request(request).bytes, good(name)) << name;
  for (const auto& [name, answer] : sample_answers())
    EXPECT_EQ(write_answer(answer).bytes, good(name)) << name;
}

TEST(GoldenMessages, AreReadSo) {
  for (const auto& [name, request] : sample_requests()) {
    const Request read = read_request(good(name), "golden");
    EXPECT_EQ(read.index(), request.index()) << name;
    EXPECT_EQ(write_request(read).bytes, good(name)) << name;
  }
  for (const auto& [name, answer] : sample_answers()) {
    const Answer read = read_answer(good(name), "golden");
    EXPECT_EQ(read.index(), answer.index()) << name;
    EXPECT_EQ(write_answer(read).bytes, good(name)) << name;
  }
}

TEST(GoldenMessages, BadOnesAreCorrupt) {
  const auto expect_corrupt = [](const std::string& name, auto read) {
    const auto bytes = load(golden_file(name + ".bin"));
    try {
      (void)read(bytes);
      ADD_FAILURE() << name << " was let through";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::corrupt_frame) << name;
      EXPECT_NE(std::string(error.what()).find("the golden one sent"), std::string::npos) << error.what();
    }
  };
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(golden_file(""))) {
    const std::string name = entry.path().stem();
    if (!name.starts_with("bad-")) continue;
    ++files;
    expect_corrupt(name, [](const auto& bytes) { return read_request(bytes, "the golden one"); });
    expect_corrupt(name, [](const auto& bytes) { return read_answer(bytes, "the golden one"); });
  }
  EXPECT_GE(files, 25);
}

}  // namespace
}  // namespace gradwire::server
