// How fast the codecs are against glibc's memcpy of the same number of bytes: one core, memory-bound,
// repetitions interleaved. Every row counts bytes of float32 elements, whatever the payload's size.

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "compress/codec.hpp"

namespace {

using gradwire::compress::Codec;
using gradwire::compress::Encode;
using gradwire::compress::make_codec;

constexpr std::size_t kBytes = std::size_t{256} << 20U;
constexpr std::size_t kCount = kBytes / sizeof(float);
constexpr std::size_t kHugePage = std::size_t{2} << 20U;
constexpr int kRepetitions = 11;
constexpr const char* kMemcpy = "memcpy";

/// Memory in huge pages, for memcpy and the codecs alike.
template <class T>
class Array {
 public:
  explicit Array(std::size_t count)
      : data_(static_cast<T*>(
            std::aligned_alloc(kHugePage, (count * sizeof(T) + kHugePage - 1) / kHugePage * kHugePage))) {
    if (data_ == nullptr) throw std::bad_alloc();
    madvise(data_.get(), count * sizeof(T), MADV_HUGEPAGE);
    std::memset(static_cast<void*>(data_.get()), 0, count * sizeof(T));
  }
  T* get() const { return data_.get(); }

 private:
  struct Free {
    void operator()(T* data) const { std::free(data); }
  };
  std::unique_ptr<T, Free> data_;
};

struct Buffers {
  Array<float> value{kCount};
  Array<float> residual{kCount};
  Array<float> other{kCount};
  Array<std::byte> payload{kBytes};
  Array<std::byte> incoming{kBytes};

  Buffers() {
    std::uint32_t state = 1;
    for (std::size_t i = 0; i < kCount; ++i) {
      state = state * 1664525U + 1013904223U;
      value.get()[i] = static_cast<float>(state >> 8U) / 16777216.0F - 0.5F;
    }
  }
};

using Operation = void (*)(const Codec&, const Buffers&);

void encode_in_place(const Codec& codec, const Buffers& b) {
  const Encode in{b.value.get(), b.residual.get(), b.residual.get(), kCount, 1.0F};
  benchmark::DoNotOptimize(codec.encode(in, b.payload.get()));
}

void encode_shadow(const Codec& codec, const Buffers& b) {
  const Encode in{b.value.get(), b.residual.get(), b.other.get(), kCount, 1.0F};
  benchmark::DoNotOptimize(codec.encode(in, b.payload.get()));
}

void encode_plain(const Codec& codec, const Buffers& b) {
  const Encode in{b.value.get(), nullptr, nullptr, kCount, 1.0F};
  benchmark::DoNotOptimize(codec.encode(in, b.payload.get()));
}

void decode_add(const Codec& codec, const Buffers& b) {
  codec.decode_add({b.incoming.get(), codec.max_payload(kCount)}, b.other.get(), kCount, 1.0F);
}

void decode_assign(const Codec& codec, const Buffers& b) {
  codec.decode_assign({b.incoming.get(), codec.max_payload(kCount)}, b.other.get(), kCount);
}

void add_then_encode(const Codec& codec, const Buffers& b) {
  const Encode in{b.value.get(), b.residual.get(), b.residual.get(), kCount, 1.0F};
  benchmark::DoNotOptimize(
      codec.add_then_encode({b.incoming.get(), codec.max_payload(kCount)}, 1.0F, in, b.payload.get()));
}

/// Remembers the medians on their way to the console.
class MedianReporter final : public benchmark::ConsoleReporter {
 public:
  void ReportRuns(const std::vector<Run>& runs) override {
    ConsoleReporter::ReportRuns(runs);
    for (const Run& run : runs) {
      if (run.run_type == Run::RT_Aggregate && run.aggregate_name == "median") {
        order_.push_back(run.run_name.function_name);
        seconds_[order_.back()] = run.real_accumulated_time / static_cast<double>(run.iterations);
      }
    }
  }

  void print_ratios() const {
    const auto memcpy = seconds_.find(kMemcpy);
    if (memcpy == seconds_.end()) return;
    fmt::print("\n{:<36} {:>8} {:>14}\n", "256 MB of float32, one core", "GB/s", "times memcpy");
    for (const std::string& name : order_) {
      const double seconds = seconds_.at(name);
      fmt::print("{:<36} {:>8.2f} {:>14.2f}\n", name, static_cast<double>(kBytes) / seconds / 1e9,
                 memcpy->second / seconds);
    }
  }

 private:
  std::map<std::string, double> seconds_;
  std::vector<std::string> order_;
};

template <class Body>
void add(const std::string& name, Body body) {
  benchmark::RegisterBenchmark(
      name.c_str(),
      [body](benchmark::State& state) {
        for (auto iteration : state) {
          benchmark::DoNotOptimize(iteration);
          body();
          benchmark::ClobberMemory();
        }
        state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * kBytes));
      })
      ->Iterations(2)
      ->Repetitions(kRepetitions)
      ->ReportAggregatesOnly()
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
}

void add_codec(const std::string& spec, const Buffers& buffers) {
  const std::shared_ptr<const Codec> codec = make_codec(spec);
  const std::pair<const char*, Operation> operations[] = {
      {"encode in place", encode_in_place},  {"encode to a shadow", encode_shadow},
      {"encode, no feedback", encode_plain}, {"decode_add", decode_add},
      {"decode_assign", decode_assign},      {"add_then_encode", add_then_encode},
  };
  for (const auto& [what, operation] : operations) {
    add(fmt::format("{}/{}", spec, what), [codec, run = operation, &buffers] { run(*codec, buffers); });
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<char*> arguments(argv, argv + argc);
  std::string interleave = "--benchmark_enable_random_interleaving=true";
  arguments.insert(arguments.begin() + 1, interleave.data());
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 1;

  const Buffers buffers;
  add(kMemcpy, [&buffers] { std::memcpy(buffers.other.get(), buffers.value.get(), kBytes); });
  for (const char* spec : {"onebit", "fp16", "bf16", "none"}) add_codec(spec, buffers);

  MedianReporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  reporter.print_ratios();
  return 0;
}
