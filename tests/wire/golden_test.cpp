#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "gradwire/error.hpp"
#include "wire/header.hpp"
#include "wire/hello.hpp"

namespace gradwire::wire {
namespace {

const std::filesystem::path golden_files = std::filesystem::path(GRADWIRE_TEST_DIR) / "../golden/wire";

std::vector<std::byte> load(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

Header parse_header(const std::vector<std::byte>& bytes) {
  EXPECT_EQ(bytes.size(), kHeaderBytes);
  return read_header(std::span<const std::byte, kHeaderBytes>(bytes), 0);
}

Header golden_header(const std::string& name) { return parse_header(load(golden_files / (name + ".bin"))); }

Header data_header() {
  Header header;
  header.codec = 3;
  header.layer = 5;
  header.communicator = 0x01020304;
  header.order_hash = 0x1122334455667788;
  header.operation = 42;
  header.chunk = 7;
  header.segment = 9;
  header.sender = 2;
  header.count = 1024;
  header.payload_bytes = 144;
  return header;
}

TEST(Golden, Headers) {
  EXPECT_EQ(golden_header("good-header-data"), data_header());

  Header largest = data_header();
  largest.payload_bytes = 65536;
  largest.flags = kFlagNonFinite | kFlagPayloadCrc;
  largest.payload_crc = 0xFFFFFFFF;
  largest.layer = 65535;
  largest.dtype = 2;
  EXPECT_EQ(golden_header("good-header-largest"), largest);

  Header abort = data_header();
  abort.kind = FrameKind::abort;
  abort.chunk = 3;
  abort.segment = 40;
  abort.payload_bytes = 0;
  abort.count = 0;
  EXPECT_EQ(golden_header("good-header-abort"), abort);

  Header goodbye = data_header();
  goodbye.kind = FrameKind::goodbye;
  goodbye.payload_bytes = 0;
  goodbye.count = 0;
  EXPECT_EQ(golden_header("good-header-goodbye"), goodbye);

  Header message = data_header();
  message.kind = FrameKind::message;
  message.codec = 0;
  message.chunk = 0;
  message.segment = 0;
  message.count = 0;
  message.payload_bytes = 21;
  EXPECT_EQ(golden_header("good-header-message"), message);
}

TEST(Golden, Hellos) {
  Hello hello;
  hello.job = "mnist-17";
  hello.communicator = 3;
  hello.world_size = 4;
  hello.rank = 2;
  hello.peer = 1;
  hello.connection = 1;
  hello.connections = 3;
  hello.token = 0xDEADBEEFCAFEF00D;
  EXPECT_EQ(read_hello(load(golden_files / "good-hello.bin"), "golden"), hello);
  hello.job = "";
  EXPECT_EQ(read_hello(load(golden_files / "good-hello-no-job.bin"), "golden"), hello);
  hello.job = std::string(255, 'j');
  EXPECT_EQ(read_hello(load(golden_files / "good-hello-longest-job.bin"), "golden"), hello);
}

TEST(Golden, WritersGiveTheSameBytes) {
  for (const auto* name : {"good-header-data", "good-header-largest", "good-header-abort",
                           "good-header-goodbye", "good-header-message"}) {
    const auto bytes = load(golden_files / (std::string(name) + ".bin"));
    HeaderBytes written;
    write_header(parse_header(bytes), written);
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), written.begin(), written.end())) << name;
  }
  for (const auto* name : {"good-hello", "good-hello-no-job", "good-hello-longest-job"}) {
    const auto bytes = load(golden_files / (std::string(name) + ".bin"));
    const HelloBytes written = write_hello(read_hello(bytes, "golden"));
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), written.view().begin(), written.view().end())) << name;
  }
}

TEST(Golden, BadOnesAreRefusedWithTheirCode) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(golden_files)) {
    const std::string name = entry.path().stem();
    if (!name.starts_with("bad-")) continue;
    ++files;
    const auto bytes = load(entry.path());
    try {
      if (name.find("-header") != std::string::npos) {
        parse_header(bytes);
      } else {
        (void)read_hello(bytes, "golden");
      }
      ADD_FAILURE() << name << " was let through";
    } catch (const Error& error) {
      EXPECT_TRUE(name.starts_with("bad-" + std::string(to_string(error.code()))))
          << name << ": " << error.what();
    }
  }
  EXPECT_GE(files, 24);
}

}  // namespace
}  // namespace gradwire::wire
