// Runs a fuzz target without a fuzzer, so that every build tests it: on the seeds in a folder, on all of
// their beginnings, and on what a fixed sequence of pseudo-random changes makes of them. The inputs are the
// same every time: a debugger stops at the one that failed.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Input = std::vector<std::uint8_t>;

std::vector<Input> load(const char* folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) paths.push_back(entry.path());
  std::ranges::sort(paths);
  std::vector<Input> inputs;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    inputs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return inputs;
}

class Mutator {
 public:
  explicit Mutator(const std::vector<Input>& seeds) : seeds_(seeds) {}

  Input next() {
    Input input = any_seed();
    for (std::size_t changes = 1 + below(4); changes > 0; --changes) change(input);
    return input;
  }

 private:
  std::size_t below(std::size_t bound) { return random_() % bound; }
  const Input& any_seed() { return seeds_[below(seeds_.size())]; }

  void change(Input& input) {
    constexpr std::uint8_t kEdges[] = {0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF};
    if (input.empty()) input.push_back(0);
    const std::size_t at = below(input.size());
    const auto place = input.begin() + static_cast<std::ptrdiff_t>(at);
    switch (below(6)) {
      case 0: input[at] ^= static_cast<std::uint8_t>(1U << below(8)); break;
      case 1: input[at] = kEdges[below(std::size(kEdges))]; break;
      case 2: input[at] = static_cast<std::uint8_t>(random_()); break;
      case 3: input.resize(at); break;
      case 4: input.insert(place, 1 + below(8), static_cast<std::uint8_t>(random_())); break;
      default: {
        // The rest becomes that of another seed.
        const Input& other = any_seed();
        if (at >= other.size()) break;
        input.erase(place, input.end());
        input.insert(input.end(), other.begin() + static_cast<std::ptrdiff_t>(at), other.end());
      }
    }
  }

  const std::vector<Input>& seeds_;
  std::mt19937_64 random_{1};  // NOLINT(cert-msc32-c,cert-msc51-cpp): the same every time
};

void run(Input input) {
  // The address sanitizer shall see one byte too many.
  input.shrink_to_fit();
  static_cast<void>(LLVMFuzzerTestOneInput(input.data(), input.size()));
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<Input> seeds = argc == 2 ? load(argv[1]) : std::vector<Input>();
  if (seeds.empty()) {
    std::fprintf(stderr, "usage: %s FOLDER_WITH_SEEDS\n", argv[0]);
    return 2;
  }
  for (const Input& seed : seeds) {
    for (std::size_t size = 0; size <= seed.size(); ++size) {
      run({seed.begin(), seed.begin() + static_cast<std::ptrdiff_t>(size)});
    }
  }
  constexpr int kChanged = 10'000;
  Mutator mutator(seeds);
  for (int i = 0; i < kChanged; ++i) run(mutator.next());
  return 0;
}
