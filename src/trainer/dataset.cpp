#include "trainer/dataset.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <system_error>
#include <utility>

#include "gradwire/error.hpp"
#include "trainer/idx_file.hpp"
#include "trainer/joined.hpp"

namespace gradwire::trainer {

namespace {

struct KnownDataset {
  const char* name;
  const char* usual_folder;  ///< nullptr: it has none
};

constexpr std::array kKnown = {
    KnownDataset{"fashion-mnist", "/usr/share/datasets/fashion-mnist"},
    KnownDataset{"mnist", nullptr},
};

IdxArray read_one(const std::filesystem::path& folder, const std::string& stem, std::size_t dimensions) {
  std::filesystem::path path = folder / stem;
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) path += ".gz";
  if (!std::filesystem::exists(path, ignored)) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("neither {0} nor {0}.gz is in {1}", stem, folder.string()), "check --data-dir");
  }
  IdxArray array = read_idx(path);
  if (array.dimensions.size() != dimensions) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("IDX file {} has {} dimensions where {} are expected", path.string(),
                            array.dimensions.size(), dimensions),
                "check that it is the file its name says");
  }
  return array;
}

LabelledImages read_part(const std::filesystem::path& folder, const std::string& prefix,
                         std::size_t& features) {
  IdxArray images = read_one(folder, prefix + "-images-idx3-ubyte", 3);
  IdxArray labels = read_one(folder, prefix + "-labels-idx1-ubyte", 1);
  const std::size_t size = std::size_t{images.dimensions[1]} * images.dimensions[2];
  if (images.dimensions[0] != labels.dimensions[0]) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} has {} images and {} labels in {}", prefix, images.dimensions[0],
                            labels.dimensions[0], folder.string()),
                "check that the files belong together");
  }
  if (features != 0 && features != size) {
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("{}'s images have {} pixels, those of the training set {}", prefix, size, features),
        "check that the files belong together");
  }
  features = size;
  return {std::move(images.values), std::move(labels.values)};
}

}  // namespace

std::vector<std::string> dataset_names() {
  std::vector<std::string> names;
  names.reserve(kKnown.size());
  for (const auto& known : kKnown) names.emplace_back(known.name);
  return names;
}

std::filesystem::path find_dataset(const std::string& name, const std::filesystem::path& folder,
                                   const std::filesystem::path& data_home) {
  const auto* const known = std::ranges::find(kKnown, name, &KnownDataset::name);
  if (known == kKnown.end()) {
    throw Error(ErrorCode::invalid_argument, fmt::format("unknown data set '{}'", name),
                fmt::format("choose one of {}", joined(dataset_names(), ", ")));
  }
  const auto exists = [](const std::filesystem::path& path) {
    std::error_code ignored;
    return std::filesystem::is_directory(path, ignored);
  };
  if (!folder.empty()) {
    if (exists(folder)) return folder;
    throw Error(ErrorCode::invalid_argument, fmt::format("{} is not a folder", folder.string()),
                fmt::format("give the folder of {}'s four IDX files with --data-dir", name));
  }
  if (!data_home.empty()) {
    if (exists(data_home / name)) return data_home / name;
    if (known->usual_folder == nullptr && exists(data_home)) return data_home;
  }
  if (known->usual_folder == nullptr) {
    throw Error(
        ErrorCode::invalid_argument, fmt::format("the data set {} was not found", name),
        "give the folder of its four IDX files (train-images-idx3-ubyte.gz and so on) with --data-dir, or "
        "in GRADWIRE_DATA");
  }
  if (!exists(known->usual_folder)) {
    throw Error(
        ErrorCode::invalid_argument, fmt::format("{} is not installed in {}", name, known->usual_folder),
        "install Debian's dataset-fashion-mnist (./dev setup does), or give the folder of its four IDX files "
        "with --data-dir");
  }
  return known->usual_folder;
}

void Dataset::gather(const LabelledImages& from, std::span<const std::uint32_t> indices,
                     std::span<float> out) const {
  float* target = out.data();
  for (const auto index : indices) {
    const std::uint8_t* const source = from.pixels.data() + std::size_t{index} * features;
    for (std::size_t i = 0; i < features; ++i) target[i] = normalized[source[i]];
    target += features;
  }
}

void prepare_dataset(Dataset& dataset) {
  for (const auto* part : {&dataset.train, &dataset.test}) {
    if (part->count() == 0 || part->pixels.size() != part->count() * dataset.features) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("data set {}: {} pixels don't make {} images of {}", dataset.name,
                              part->pixels.size(), part->count(), dataset.features),
                  "check that the files belong together");
    }
    const auto largest = *std::ranges::max_element(part->labels);
    if (largest >= dataset.classes) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("data set {}: a label is {}, they should be below {}", dataset.name, largest,
                              dataset.classes),
                  "check that the labels file is the right one");
    }
  }
  std::array<std::uint64_t, 256> histogram{};
  for (const auto pixel : dataset.train.pixels) ++histogram[pixel];
  double sum = 0;
  double squares = 0;
  for (std::size_t value = 0; value < histogram.size(); ++value) {
    const auto count = static_cast<double>(histogram[value]);
    const auto v = static_cast<double>(value);
    sum += count * v;
    squares += count * v * v;
  }
  const auto total = static_cast<double>(dataset.train.pixels.size());
  const double mean = sum / total;
  const double deviation = std::sqrt(std::max(squares / total - mean * mean, 0.0));
  const double scale = deviation > 0 ? 1.0 / deviation : 1.0;
  for (std::size_t value = 0; value < histogram.size(); ++value) {
    dataset.normalized[value] = static_cast<float>((static_cast<double>(value) - mean) * scale);
  }
}

Dataset load_dataset(const std::string& name, const std::filesystem::path& folder) {
  Dataset dataset;
  dataset.name = name;
  dataset.classes = 10;
  dataset.train = read_part(folder, "train", dataset.features);
  dataset.test = read_part(folder, "t10k", dataset.features);
  prepare_dataset(dataset);
  return dataset;
}

}  // namespace gradwire::trainer
