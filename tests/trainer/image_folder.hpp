#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "idx_bytes.hpp"
#include "tests/support/temporary_folder.hpp"
#include "trainer/random.hpp"

namespace gradwire::trainer {

/// A folder with a data set for `gradwire train --data mnist`: images that are brighter in the rows that
/// belong to their label.
class ImageFolder {
 public:
  explicit ImageFolder(std::uint32_t train_count = 300, std::uint32_t test_count = 50) {
    write_part("train", train_count);
    write_part("t10k", test_count);
  }

  [[nodiscard]] std::filesystem::path path() const { return folder_.path(); }
  [[nodiscard]] std::filesystem::path file(const std::string& name) const { return folder_.path() / name; }

 private:
  void write_part(const std::string& prefix, std::uint32_t count) const {
    Random random(count);
    Bytes pixels;
    Bytes labels;
    for (std::uint32_t i = 0; i < count; ++i) {
      labels.push_back(static_cast<std::uint8_t>(random.below(10)));
      for (std::uint32_t p = 0; p < 100; ++p) {
        pixels.push_back(
            static_cast<std::uint8_t>(random.below(100) + (p / 10 == labels.back() ? 100U : 0U)));
      }
    }
    write_file(file(prefix + "-images-idx3-ubyte.gz"), gzip(idx_bytes({count, 10, 10}, pixels)));
    write_file(file(prefix + "-labels-idx1-ubyte"), idx_bytes({count}, labels));
  }

  TemporaryFolder folder_;
};

}  // namespace gradwire::trainer
