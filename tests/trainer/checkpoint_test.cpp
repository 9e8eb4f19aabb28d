#include "trainer/checkpoint.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "gradwire/error.hpp"
#include "temporary_folder.hpp"

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
  expect_equal(read_checkpoint(path), example());
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
    EXPECT_EQ(read_checkpoint(path).step, step);
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
  damaged[bytes.size() / 2] ^= 1;
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
  EXPECT_THAT(difference([](Checkpoint& c) { c.weights.resize(2); }), HasSubstr("parameter count"));
}

TEST(Checkpoint, names_files_and_folders_that_do_not_work) {
  const TemporaryFolder folder;
  EXPECT_THROW(read_checkpoint(folder.path() / "absent"), Error);
  EXPECT_THROW(read_checkpoint(folder.path()), Error);
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
