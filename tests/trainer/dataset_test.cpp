#include "trainer/dataset.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "gradwire/error.hpp"
#include "idx_bytes.hpp"
#include "tests/support/temporary_folder.hpp"

namespace gradwire::trainer {
namespace {

using testing::HasSubstr;

/// Four small files: 3 training images and 2 test images of 2 x 2 pixels.
void write_data(const std::filesystem::path& folder) {
  const Bytes train_pixels{0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110};
  const Bytes train_labels{1, 0, 9};
  const Bytes test_pixels{255, 255, 255, 255, 0, 0, 0, 0};
  const Bytes test_labels{3, 4};
  write_file(folder / "train-images-idx3-ubyte", idx_bytes({3, 2, 2}, train_pixels));
  write_file(folder / "train-labels-idx1-ubyte", idx_bytes({3}, train_labels));
  write_file(folder / "t10k-images-idx3-ubyte.gz", gzip(idx_bytes({2, 2, 2}, test_pixels)));
  write_file(folder / "t10k-labels-idx1-ubyte.gz", gzip(idx_bytes({2}, test_labels)));
}

void expect_refused(const std::filesystem::path& folder, const std::string& reason) {
  try {
    load_dataset("mnist", folder);
    ADD_FAILURE() << "accepted, expected: " << reason;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_THAT(error.what(), HasSubstr(reason));
  }
}

TEST(Dataset, loads_plain_and_compressed_files) {
  const TemporaryFolder folder;
  write_data(folder.path());
  const Dataset data = load_dataset("fashion-mnist", folder.path());
  EXPECT_EQ(data.train.count(), 3U);
  EXPECT_EQ(data.test.count(), 2U);
  EXPECT_EQ(data.features, 4U);
  EXPECT_EQ(data.test.labels[1], 4);
}

TEST(Dataset, normalizes_by_the_training_set) {
  const TemporaryFolder folder;
  write_data(folder.path());
  const Dataset data = load_dataset("mnist", folder.path());
  double sum = 0;
  double squares = 0;
  for (const auto pixel : data.train.pixels) {
    const double value = data.normalized[pixel];
    sum += value;
    squares += value * value;
  }
  EXPECT_NEAR(sum, 0, 1e-5);
  EXPECT_NEAR(squares / 12, 1, 1e-5);

  const std::vector<std::uint32_t> picked{2, 0};
  std::vector<float> rows(8);
  data.gather(data.train, picked, rows);
  EXPECT_EQ(rows[0], data.normalized[80]);
  EXPECT_EQ(rows[7], data.normalized[30]);
}

TEST(Dataset, survives_images_of_one_colour) {
  Dataset data;
  data.features = 2;
  data.classes = 10;
  data.train = {{7, 7}, {0}};
  data.test = {{7, 7}, {0}};
  prepare_dataset(data);
  EXPECT_EQ(data.normalized[7], 0.0F);
  EXPECT_EQ(data.normalized[8], 1.0F);
}

TEST(Dataset, refuses_files_that_do_not_belong_together) {
  const TemporaryFolder folder;
  const Bytes four{1, 2, 3, 4};
  write_data(folder.path());
  write_file(folder.path() / "train-labels-idx1-ubyte", idx_bytes({4}, four));
  expect_refused(folder.path(), "3 images and 4 labels");

  write_data(folder.path());
  write_file(folder.path() / "t10k-images-idx3-ubyte", idx_bytes({2, 1, 2}, four));
  expect_refused(folder.path(), "images have 2 pixels, those of the training set 4");
  std::filesystem::remove(folder.path() / "t10k-images-idx3-ubyte");

  const Bytes bad_labels{1, 10, 0};
  write_file(folder.path() / "train-labels-idx1-ubyte", idx_bytes({3}, bad_labels));
  expect_refused(folder.path(), "a label is 10");

  write_data(folder.path());
  write_file(folder.path() / "train-images-idx3-ubyte", idx_bytes({4}, four));
  expect_refused(folder.path(), "1 dimensions where 3 are expected");

  std::filesystem::remove(folder.path() / "train-images-idx3-ubyte");
  expect_refused(folder.path(), "train-images-idx3-ubyte");
}

TEST(Dataset, is_found_where_it_was_put) {
  const TemporaryFolder home;
  const auto& path = home.path();
  EXPECT_EQ(find_dataset("mnist", path), path);
  EXPECT_EQ(find_dataset("mnist", {}, path), path);
  std::filesystem::create_directory(path / "mnist");
  EXPECT_EQ(find_dataset("mnist", {}, path), path / "mnist");
  std::filesystem::create_directory(path / "fashion-mnist");
  EXPECT_EQ(find_dataset("fashion-mnist", {}, path), path / "fashion-mnist");
  EXPECT_EQ(find_dataset("fashion-mnist", path, "/nonexistent"), path);
}

TEST(Dataset, says_which_sets_and_folders_there_are) {
  const auto message = [](const std::string& name, const std::string& folder, const std::string& home) {
    try {
      return find_dataset(name, folder, home).string();
    } catch (const Error& error) {
      return std::string(error.what());
    }
  };
  EXPECT_THAT(message("cifar", "", ""), HasSubstr("fashion-mnist, mnist"));
  EXPECT_THAT(message("mnist", "", ""), HasSubstr("GRADWIRE_DATA"));
  EXPECT_THAT(message("mnist", "/nonexistent", ""), HasSubstr("/nonexistent is not a folder"));
  EXPECT_THAT(message("mnist", "", "/nonexistent"), HasSubstr("--data-dir"));
}

}  // namespace
}  // namespace gradwire::trainer
