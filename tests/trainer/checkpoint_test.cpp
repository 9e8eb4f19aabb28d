#include "trainer/checkpoint.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>

#include "gradwire/error.hpp"
#include "tests/support/temporary_folder.hpp"

namespace gradwire::trainer {
namespace {

using testing::HasSubstr;

Checkpoint example() {
  Checkpoint checkpoint;
  checkpoint.data = "mnist";
  checkpoint.widths = {4, 3, 2};
  checkpoint.rank = 1;
  checkpoint.world_size = 4;
  checkpoint.batch = 64;
  checkpoint.seed = 0xfedcba9876543210U;
  checkpoint.step = 1234;
  checkpoint.seconds = 1.0 / 3;
  checkpoint.loss_sum = 0.1;
  checkpoint.loss_samples = 99;
  checkpoint.weights = {1.5F, -2.0F, 1e-40F};
  checkpoint.velocity = {0.0F, -0.0F, 3.0F};
  checkpoint.reducer_state = std::string("resid\0uals", 10);
  return checkpoint;
}

constexpr std::uint64_t kMostState = 10;

Checkpoint read(const std::filesystem::path& path) { return read_checkpoint(path, example(), kMostState); }

std::string message_of_reading(const std::filesystem::path& path) {
  try {
    read(path);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

void expect_equal(const Checkpoint& a, const Checkpoint& b) {
  EXPECT_EQ(a.data, b.data);
  EXPECT_EQ(a.widths, b.widths);
  EXPECT_EQ(a.rank, b.rank);
  EXPECT_EQ(a.world_size, b.world_size);
  EXPECT_EQ(a.batch, b.batch);
  EXPECT_EQ(a.seed, b.seed);
  EXPECT_EQ(a.step, b.step);
  EXPECT_EQ(a.seconds, b.seconds);
  EXPECT_EQ(a.loss_sum, b.loss_sum);
  EXPECT_EQ(a.loss_samples, b.loss_samples);
  EXPECT_EQ(a.weights, b.weights);
  EXPECT_EQ(a.velocity, b.velocity);
  EXPECT_EQ(a.reducer_state, b.reducer_state);
}

TEST(Checkpoint, comes_back_as_it_was_written) {
  const TemporaryFolder folder;
  const auto path = checkpoint_path((folder.path() / "model.ckpt").string(), 1);
  EXPECT_EQ(path.filename(), "model.ckpt.1");
  write_checkpoint(path, example());
  EXPECT_FALSE(std::filesystem::exists(path)) << "the name appears only when the file is complete";
  publish_checkpoint(path);
  expect_equal(read(path), example());
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1)
      << "nothing is left over";
}

TEST(Checkpoint, a_new_one_replaces_the_old_one) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "model.ckpt.0";
  Checkpoint checkpoint = example();
  for (const std::uint64_t step : {1U, 2U}) {
    checkpoint.step = step;
    write_checkpoint(path, checkpoint);
    publish_checkpoint(path);
    EXPECT_EQ(read(path).step, step);
  }
}

TEST(Checkpoint, refuses_every_truncation_and_every_changed_byte) {
  const std::string bytes = serialize_checkpoint(example());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THROW(parse_checkpoint(std::string_view(bytes).substr(0, size), "a"), Error) << size;
  }
  EXPECT_THROW(parse_checkpoint(bytes + "x", "a"), Error);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x40);
    EXPECT_THROW(parse_checkpoint(damaged, "a"), Error) << i;
  }
}

TEST(Checkpoint, says_what_is_wrong) {
  const auto message = [](const std::string& bytes) -> std::string {
    try {
      parse_checkpoint(bytes, "model.ckpt.0");
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  std::string bytes = serialize_checkpoint(example());
  EXPECT_THAT(message(bytes.substr(0, 10)), HasSubstr("model.ckpt.0: it is too short"));
  EXPECT_THAT(message("P" + bytes.substr(1)), HasSubstr("wrong magic"));
  EXPECT_THAT(message(bytes.substr(0, bytes.size() - 5)), HasSubstr("truncated"));
  std::string damaged = bytes;
  damaged[bytes.size() - 10] ^= 1;
  EXPECT_THAT(message(damaged), HasSubstr("checksum"));
  bytes[8] = 2;
  EXPECT_THAT(message(bytes), HasSubstr("version_mismatch"));
}

TEST(Checkpoint, belongs_to_one_run) {
  const auto difference = [](const auto& change) -> std::string {
    Checkpoint other = example();
    change(other);
    try {
      require_same_run(other, example(), "a");
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(difference([](Checkpoint& c) { c.step = 1; }), "accepted");
  EXPECT_THAT(difference([](Checkpoint& c) {
                c.widths = {4, 5, 2};
              }),
              HasSubstr("4-5-2, this run has 4-3-2"));
  EXPECT_THAT(difference([](Checkpoint& c) { c.world_size = 2; }), HasSubstr("ranks"));
  EXPECT_THAT(difference([](Checkpoint& c) { c.rank = 0; }), HasSubstr("rank"));
  EXPECT_THAT(difference([](Checkpoint& c) { c.batch = 32; }), HasSubstr("batch of 32, this run has 64"));
  EXPECT_THAT(difference([](Checkpoint& c) { c.seed = 3; }), HasSubstr("seed"));
  EXPECT_THAT(difference([](Checkpoint& c) { c.data = "fashion-mnist"; }), HasSubstr("fashion-mnist"));
}

TEST(Checkpoint, must_fit_the_model_that_reads_it) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "model.ckpt.1";
  const auto message = [&](const auto& change) {
    Checkpoint other = example();
    change(other);
    write_checkpoint(path, other);
    publish_checkpoint(path);
    return message_of_reading(path);
  };
  EXPECT_EQ(message([](Checkpoint&) {}), "accepted");
  EXPECT_EQ(message([](Checkpoint& c) { c.reducer_state.clear(); }), "accepted");
  EXPECT_THAT(message([](Checkpoint& c) { c.seed = 3; }), HasSubstr("seed 3, this run has"));
  EXPECT_THAT(message([](Checkpoint& c) {
                c.weights.resize(2);
                c.velocity.resize(2);
              }),
              HasSubstr("2 parameters, this run's model has 3"));
  EXPECT_THAT(message([](Checkpoint& c) { c.reducer_state += "x"; }),
              HasSubstr("11 bytes of residuals, this run's model has at most 10"));
}

// A file of a tebibyte that takes no room on the disk: whoever believes its size is out of memory.
TEST(Checkpoint, takes_no_memory_for_what_a_file_only_announces) {
  constexpr std::uint64_t kTebibyte = std::uint64_t{1} << 40U;
  const TemporaryFolder folder;
  const auto path = folder.path() / "model.ckpt.1";
  const std::string bytes = serialize_checkpoint(example());
  struct Field {
    std::size_t offset;
    std::size_t bytes;
    std::uint64_t more;  ///< than it had
    const char* message;
  };
  for (const Field& field :
       {Field{16, 8, kTebibyte / 8, "parameters, this run's model has 3"},
        Field{24, 8, kTebibyte, "bytes of residuals, this run's model has at most 10"},
        Field{16, 0, 0, "not what its beginning announces"}, Field{0, 8, 1, "wrong magic"}}) {
    std::string head = bytes.substr(0, bytes.size() - 4);
    std::uint64_t value = 0;
    std::memcpy(&value, head.data() + field.offset, sizeof(value));
    value += field.more;
    std::memcpy(head.data() + field.offset, &value, field.bytes);
    std::ofstream(path, std::ios::binary) << head;
    std::filesystem::resize_file(path, bytes.size() + kTebibyte);
    EXPECT_THAT(message_of_reading(path), HasSubstr(field.message));
  }
}

TEST(Checkpoint, refuses_numbers_that_do_not_fit_their_fields) {
  // As long as what they replace. The checksum comes last, so its error says that the description passed.
  const std::string bytes = serialize_checkpoint(example());
  for (const auto& [written, other] :
       {std::pair("\"rank\":1", "\"rank\":0"), std::pair("\"widths\":[4,3,2]", "\"widths\":[4,3.5]"),
        std::pair("\"batch\":64", "\"batch\":-4"), std::pair("\"widths\":[4,3,2]", "\"widths\":[4e9  ]")}) {
    std::string changed = bytes;
    const auto place = changed.find(written);
    ASSERT_NE(place, std::string::npos) << written;
    changed.replace(place, std::strlen(written), other);
    ASSERT_EQ(changed.size(), bytes.size());
    try {
      parse_checkpoint(changed, "a");
      FAIL() << "accepted";
    } catch (const Error& error) {
      const bool fits = std::string_view(other) == "\"rank\":0";
      EXPECT_THAT(error.what(), HasSubstr(fits ? "checksum" : "description")) << other;
    }
  }
}

TEST(Checkpoint, a_description_is_small) {
  Checkpoint checkpoint = example();
  checkpoint.data.assign(std::size_t{1} << 20U, 'x');
  EXPECT_THROW(parse_checkpoint(serialize_checkpoint(checkpoint), "a"), Error);
}

TEST(Checkpoint, names_files_and_folders_that_do_not_work) {
  const TemporaryFolder folder;
  EXPECT_THROW(read(folder.path() / "absent"), Error);
  EXPECT_THROW(read(folder.path()), Error);
  try {
    write_checkpoint(folder.path() / "no" / "such" / "folder", example());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::system);
    EXPECT_THAT(error.what(), HasSubstr("No such file"));
  }
}

}  // namespace
}  // namespace gradwire::trainer
