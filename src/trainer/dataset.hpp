#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace gradwire::trainer {

/// Images as unsigned bytes, row by row, and their labels.
struct LabelledImages {
  std::vector<std::uint8_t> pixels;
  std::vector<std::uint8_t> labels;
  [[nodiscard]] std::size_t count() const noexcept { return labels.size(); }
};

/// A training and a test set of images of one size. Immutable once loaded, so ranks that are threads can
/// share it.
struct Dataset {
  std::string name;
  std::size_t features = 0;  ///< pixels of an image
  std::size_t classes = 0;   ///< labels are below it
  LabelledImages train;
  LabelledImages test;
  /// What a pixel becomes: mean 0 and variance 1 over the training set.
  std::array<float, 256> normalized{};

  /// Writes the normalized images of `indices`, one row of `features` floats each.
  void gather(const LabelledImages& from, std::span<const std::uint32_t> indices, std::span<float> out) const;
};

/// "mnist", "fashion-mnist".
std::vector<std::string> dataset_names();

/// Where a data set's files are: `folder` if given; else `data_home`/NAME, where that exists; else the data
/// set's usual place, and for one that has none `data_home` itself. Throws Error(invalid_argument) for an
/// unknown name or a missing folder.
std::filesystem::path find_dataset(const std::string& name, const std::filesystem::path& folder,
                                   const std::filesystem::path& data_home = {});

/// Loads the four IDX files (plain or .gz, by their usual names) from `folder`. Throws
/// Error(invalid_argument) for a missing file or a damaged one.
Dataset load_dataset(const std::string& name, const std::filesystem::path& folder);

/// Checks that images and labels fit each other and fills `normalized`. Throws Error(invalid_argument).
void prepare_dataset(Dataset& dataset);

}  // namespace gradwire::trainer
