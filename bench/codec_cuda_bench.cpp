// The codecs' kernels on a CUDA device against a device-to-device copy in the same run. Every kernel is
// charged with the bytes that it has to read and write itself, so 1.00 means that it moves them as fast as
// the copy does. Encoding with feedback is timed from residuals of zero on.
//   codec_cuda_bench [FILE.json]

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "compress/cuda/device_codec.hpp"

namespace {

using gradwire::compress::DeviceCodec;
using gradwire::compress::DeviceMemory;
using gradwire::compress::Launch;
using gradwire::compress::NonFiniteFlag;
using gradwire::compress::OwnStream;
using gradwire::compress::TimedEvent;

constexpr std::size_t kBytes = std::size_t{256} << 20U;
constexpr std::size_t kCount = kBytes / sizeof(float);
constexpr int kWarmUps = 3;
constexpr int kRounds = 31;
/// One after the other between two events, so that the device does not wait for the host.
constexpr int kRunsAtOnce = 4;
constexpr double kGoal = 0.85;

struct Buffers {
  OwnStream stream;
  NonFiniteFlag flag;
  DeviceMemory value = gradwire::compress::allocate_device(kBytes);
  DeviceMemory other = gradwire::compress::allocate_device(kBytes);
  DeviceMemory residual = gradwire::compress::allocate_device(kBytes);
  DeviceMemory shadow = gradwire::compress::allocate_device(kBytes);
  DeviceMemory payload = gradwire::compress::allocate_device(kBytes);

  Buffers() {
    std::vector<float> host(kCount);
    std::uint32_t state = 1;
    for (float& element : host) {
      state = state * 1664525U + 1013904223U;
      element = static_cast<float>(state >> 8U) / 16777216.0F - 0.5F;
    }
    gradwire::compress::copy_on(stream.get(), value.get(), host.data(), kBytes);
    gradwire::compress::copy_on(stream.get(), other.get(), host.data(), kBytes);
    flag.clear_on(stream.get());
    stream.wait();
  }

  [[nodiscard]] Launch launch() const { return {stream.get(), flag.word()}; }
  void clear_residual() const {
    gradwire::compress::fill_on(stream.get(), residual.get(), std::byte{0}, kBytes);
  }
  static float* floats(const DeviceMemory& memory) { return reinterpret_cast<float*>(memory.get()); }
};

struct Measured {
  std::string codec;
  std::string what;
  double bytes = 0;  ///< read and written
  bool goal = false;
  std::function<void()> run;
  std::vector<double> seconds;

  [[nodiscard]] double median() const {
    std::vector<double> sorted = seconds;
    std::nth_element(sorted.begin(), sorted.begin() + kRounds / 2, sorted.end());
    return sorted[kRounds / 2];
  }
  [[nodiscard]] double rate() const { return bytes / median(); }
};

void add_codec(const char* spec, const Buffers& b, std::vector<Measured>& all) {
  const std::shared_ptr<const DeviceCodec> codec = gradwire::compress::make_device_codec(spec);
  const auto payload = static_cast<double>(codec->host().max_payload(kCount));
  constexpr auto kFloats = static_cast<double>(kBytes);
  float* const value = Buffers::floats(b.value);
  float* const other = Buffers::floats(b.other);
  float* const residual = Buffers::floats(b.residual);
  float* const shadow = Buffers::floats(b.shadow);
  // What is decoded below is this codec's payload of real values.
  const std::shared_ptr<std::byte[]> incoming =
      gradwire::compress::allocate_device(codec->host().max_payload(kCount));
  codec->encode({value, nullptr, nullptr, kCount, 1.0F}, incoming.get(), b.launch());
  const auto add = [&](const char* what, double bytes, bool goal, std::function<void()> run) {
    all.push_back({spec, what, bytes, goal, std::move(run), {}});
  };
  // Larger blocks are read twice.
  const bool once = codec->host().lossy() && codec->host().block() <= 1024;
  add("encode in place", 3 * kFloats + payload, once, [=, &b] {
    codec->encode({value, residual, residual, kCount, 1.0F}, b.payload.get(), b.launch());
  });
  if (codec->host().block() > 16) {
    // Nothing aligns these arrays, and blocks begin at the first element.
    constexpr std::size_t kFewer = kCount - 4;
    const auto bytes = static_cast<double>(3 * sizeof(float) * kFewer + codec->host().max_payload(kFewer));
    add("encode in place, 4 bytes off", bytes, false, [=, &b] {
      codec->encode({value + 1, residual + 1, residual + 1, kFewer, 1.0F}, b.payload.get(), b.launch());
    });
  }
  add("encode to a shadow", 3 * kFloats + payload, false, [=, &b] {
    codec->encode({value, residual, shadow, kCount, 1.0F}, b.payload.get(), b.launch());
  });
  add("encode, no feedback", kFloats + payload, false, [=, &b] {
    codec->encode({value, nullptr, nullptr, kCount, 1.0F}, b.payload.get(), b.launch());
  });
  add("decode_add", 2 * kFloats + payload, true,
      [=, &b] { codec->decode_add(incoming.get(), other, kCount, 1.0F, b.stream.get()); });
  add("decode_assign", kFloats + payload, false,
      [=, &b] { codec->decode_assign(incoming.get(), other, kCount, b.stream.get()); });
  add("add_then_encode", 3 * kFloats + 2 * payload, false, [=, &b] {
    codec->add_then_encode(incoming.get(), 1.0F, {value, residual, residual, kCount, 1.0F}, b.payload.get(),
                           b.launch());
  });
}

/// Each in turn, so that all meet the same clocks.
void measure(std::vector<Measured>& all, const Buffers& b) {
  const TimedEvent begin;
  const TimedEvent end;
  for (int round = -kWarmUps; round < kRounds; ++round) {
    for (Measured& one : all) {
      b.clear_residual();
      begin.record(b.stream.get());
      for (int run = 0; run < kRunsAtOnce; ++run) one.run();
      end.record(b.stream.get());
      end.wait();
      if (round >= 0) one.seconds.push_back(end.seconds_since(begin) / kRunsAtOnce);
    }
  }
  b.flag.fetch_on(b.stream.get());
  b.stream.wait();
  // Blocks that are not finite take fewer accesses than they are charged with.
  if (b.flag.raised()) throw std::runtime_error("a value was not finite: these times mean nothing");
}

void print(const std::vector<Measured>& all) {
  fmt::print("CUDA {}\n", gradwire::compress::describe_device());
  fmt::print("{:<36} {:>8} {:>8} {:>12} {:>6}\n", "256 MiB of float32, median of 31", "us", "GB/s",
             "times copy", "goal");
  for (const Measured& one : all) {
    fmt::print("{:<36} {:>8.1f} {:>8.0f} {:>12.2f} {:>6}\n", fmt::format("{} {}", one.codec, one.what),
               one.median() * 1e6, one.rate() / 1e9, one.rate() / all.front().rate(),
               one.goal ? fmt::format("{:.2f}", kGoal) : "");
  }
}

bool write_json(const std::vector<Measured>& all, const char* path) {
  std::string text =
      fmt::format("{{\"device\": \"{}\", \"results\": [\n", gradwire::compress::describe_device());
  for (const Measured& one : all) {
    text += fmt::format(
        "  {{\"codec\": \"{}\", \"operation\": \"{}\", \"bytes\": {:.0f}, \"seconds\": {:.9f}, "
        "\"times_copy\": {:.4f}, \"goal\": {}}}{}\n",
        one.codec, one.what, one.bytes, one.median(), one.rate() / all.front().rate(), one.goal,
        &one == &all.back() ? "" : ",");
  }
  text += "]}\n";
  std::FILE* file = std::fopen(path, "w");
  if (file == nullptr) return false;
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  return std::fclose(file) == 0 && written;
}

void run(int argc, char** argv) {
  gradwire::compress::require_device("codec_cuda_bench");
  const Buffers buffers;
  std::vector<Measured> all;
  all.push_back({"",
                 "copy on the device",
                 2.0 * static_cast<double>(kBytes),
                 false,
                 [&] {
                   gradwire::compress::copy_on(buffers.stream.get(), buffers.shadow.get(),
                                               buffers.value.get(), kBytes);
                 },
                 {}});
  for (const char* spec :
       {"onebit", "onebit:scale=l1", "onebit:block=1024", "onebit:block=4096", "fp16", "bf16", "none"}) {
    add_codec(spec, buffers, all);
  }
  measure(all, buffers);
  print(all);
  if (argc > 1 && !write_json(all, argv[1])) fmt::print(stderr, "could not write {}\n", argv[1]);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return 0;
}
