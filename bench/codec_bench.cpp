// How fast the codecs are against glibc's memcpy of the same number of bytes: one core, memory-bound,
// repetitions interleaved, in processor time so that other processes disturb less. Every row counts bytes of
// float32 elements, whatever the payload's size. All of it, memcpy's too, lies in the kind of storage that a
// Reducer keeps residuals in.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/aligned_vector.hpp"
#include "compress/codec.hpp"

namespace {

using gradwire::base::AlignedVector;
using gradwire::compress::Codec;
using gradwire::compress::Encode;
using gradwire::compress::make_codec;

constexpr std::size_t kBytes = std::size_t{256} << 20U;
constexpr std::size_t kCount = kBytes / sizeof(float);
constexpr int kRepetitions = 11;
constexpr const char* kMemcpy = "memcpy";

struct Buffers {
  AlignedVector<float> value = AlignedVector<float>(kCount);
  AlignedVector<float> other = AlignedVector<float>(kCount);
  AlignedVector<float> residual = AlignedVector<float>(kCount);
  AlignedVector<float> shadow = AlignedVector<float>(kCount);
  AlignedVector<std::byte> payload = AlignedVector<std::byte>(kBytes);
  AlignedVector<std::byte> incoming = AlignedVector<std::byte>(kBytes);

  Buffers() {
    std::uint32_t state = 1;
    for (std::size_t i = 0; i < kCount; ++i) {
      state = state * 1664525U + 1013904223U;
      value[i] = static_cast<float>(state >> 8U) / 16777216.0F - 0.5F;
    }
  }
};

using Operation = void (*)(const Codec&, Buffers&);

void encode_in_place(const Codec& codec, Buffers& b) {
  const Encode in{b.value.data(), b.residual.data(), b.residual.data(), kCount, 1.0F};
  benchmark::DoNotOptimize(codec.encode(in, b.payload.data()));
}

void encode_shadow(const Codec& codec, Buffers& b) {
  const Encode in{b.value.data(), b.residual.data(), b.shadow.data(), kCount, 1.0F};
  benchmark::DoNotOptimize(codec.encode(in, b.payload.data()));
}

void encode_plain(const Codec& codec, Buffers& b) {
  const Encode in{b.value.data(), nullptr, nullptr, kCount, 1.0F};
  benchmark::DoNotOptimize(codec.encode(in, b.payload.data()));
}

void decode_add(const Codec& codec, Buffers& b) {
  codec.decode_add({b.incoming.data(), codec.max_payload(kCount)}, b.other.data(), kCount, 1.0F);
}

void decode_assign(const Codec& codec, Buffers& b) {
  codec.decode_assign({b.incoming.data(), codec.max_payload(kCount)}, b.other.data(), kCount);
}

void add_then_encode(const Codec& codec, Buffers& b) {
  const Encode in{b.value.data(), b.residual.data(), b.residual.data(), kCount, 1.0F};
  benchmark::DoNotOptimize(
      codec.add_then_encode({b.incoming.data(), codec.max_payload(kCount)}, 1.0F, in, b.payload.data()));
}

/// What the project asks of the codecs, in times of memcpy's rate.
const std::map<std::string, double>& goals() {
  static const std::map<std::string, double> all{
      {"onebit/encode in place", 0.85}, {"onebit/encode to a shadow", 0.75}, {"onebit/decode_add", 1.4}};
  return all;
}

/// Remembers the medians on their way to the console.
class MedianReporter final : public benchmark::ConsoleReporter {
 public:
  void ReportRuns(const std::vector<Run>& runs) override {
    ConsoleReporter::ReportRuns(runs);
    for (const Run& run : runs) {
      if (run.run_type == Run::RT_Aggregate && run.aggregate_name == "median") {
        seconds_[run.run_name.function_name] = run.cpu_accumulated_time / static_cast<double>(run.iterations);
      }
    }
  }

  void print_ratios(const std::vector<std::string>& names) const {
    const auto memcpy = seconds_.find(kMemcpy);
    if (memcpy == seconds_.end()) return;
    fmt::print("\n{:<30} {:>8} {:>14} {:>8}\n", "256 MiB of float32, one core", "GB/s", "times memcpy",
               "goal");
    for (const std::string& name : names) {
      const auto found = seconds_.find(name);
      if (found == seconds_.end()) continue;
      const auto goal = goals().find(name);
      fmt::print("{:<30} {:>8.2f} {:>14.2f} {:>8}\n", name, static_cast<double>(kBytes) / found->second / 1e9,
                 memcpy->second / found->second,
                 goal == goals().end() ? "" : fmt::format("{:.2f}", goal->second));
    }
  }

 private:
  std::map<std::string, double> seconds_;
};

class Measurement final : public benchmark::internal::Benchmark {
 public:
  Measurement(const std::string& name, std::function<void()> body)
      : Benchmark(name.c_str()), body_(std::move(body)) {}

  void Run(benchmark::State& state) override {
    for (auto iteration : state) {
      benchmark::DoNotOptimize(iteration);
      body_();
      benchmark::ClobberMemory();
    }
    state.SetBytesProcessed(static_cast<std::int64_t>(static_cast<std::size_t>(state.iterations()) * kBytes));
  }

 private:
  std::function<void()> body_;
};

class Suite {
 public:
  void add(const std::string& name, std::function<void()> body) {
    names_.push_back(name);
    // The library takes ownership.
    auto measurement = std::make_unique<Measurement>(name, std::move(body));
    // NOLINTNEXTLINE(clang-analyzer-cplusplus.NewDeleteLeaks)
    benchmark::internal::RegisterBenchmarkInternal(measurement.release())
        ->Iterations(2)
        ->Repetitions(kRepetitions)
        ->ReportAggregatesOnly()
        ->Unit(benchmark::kMillisecond);
  }

  void add_codec(const std::string& spec, Buffers& buffers) {
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

  [[nodiscard]] const std::vector<std::string>& names() const { return names_; }

 private:
  std::vector<std::string> names_;
};

}  // namespace

int main(int argc, char** argv) {
  std::vector<char*> arguments(argv, argv + argc);
  std::string interleave = "--benchmark_enable_random_interleaving=true";
  arguments.insert(arguments.begin() + 1, interleave.data());
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 1;

  Buffers buffers;
  Suite suite;
  suite.add(kMemcpy, [&buffers] { std::memcpy(buffers.other.data(), buffers.value.data(), kBytes); });
  for (const char* spec : {"onebit", "fp16", "bf16", "none"}) suite.add_codec(spec, buffers);

  MedianReporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  reporter.print_ratios(suite.names());
  return 0;
}
