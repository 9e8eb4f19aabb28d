#include <utility>

#include "compress/cuda/emulated_device.hpp"
#include "trainer/device/device_compute.hpp"
#include "trainer/gemm.hpp"
#include "trainer/host_compute.hpp"

// Devices that are threads and memory of the host, for tests: a stream does what the host's Compute does.

namespace gradwire::trainer {
namespace {

using compress::UseDevice;
using compress::emulated::put_on;

class EmulatedCompute final : public DeviceCompute {
 public:
  explicit EmulatedCompute(int number) : DeviceCompute(number), stream_(stream_of(number)) {}
  ~EmulatedCompute() override { let_go(); }

  [[nodiscard]] CUstream_st* stream() const noexcept override { return stream_.get(); }

  void gemm(Transpose transpose_a, Transpose transpose_b, int m, int n, int k, const float* a, const float* b,
            float* c) override {
    if (m == 0 || n == 0) return;
    const auto floats = [](int rows, int columns) {
      return static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns);
    };
    require_floats(a, floats(m, k));
    require_floats(b, floats(k, n));
    require_floats(c, floats(m, n));
    put([=](HostCompute& host) {
      set_gemm_threads(1);
      host.gemm(transpose_a, transpose_b, m, n, k, a, b, c);
    });
  }
  void add_bias(float* values, const float* bias, std::size_t rows, std::size_t columns) override {
    require_floats(values, rows * columns);
    require_floats(bias, columns);
    put([=](HostCompute& host) { host.add_bias(values, bias, rows, columns); });
  }
  void add_bias_and_rectify(float* values, const float* bias, std::size_t rows,
                            std::size_t columns) override {
    require_floats(values, rows * columns);
    require_floats(bias, columns);
    put([=](HostCompute& host) { host.add_bias_and_rectify(values, bias, rows, columns); });
  }
  void sum_rows(const float* values, float* sums, std::size_t rows, std::size_t columns) override {
    require_floats(values, rows * columns);
    require_floats(sums, columns);
    put([=](HostCompute& host) { host.sum_rows(values, sums, rows, columns); });
  }
  void mask_rectified(float* delta, const float* activation, std::size_t count) override {
    require_floats(delta, count);
    require_floats(activation, count);
    put([=](HostCompute& host) { host.mask_rectified(delta, activation, count); });
  }
  void subtract(std::span<const float> a, std::span<const float> b, std::span<float> out) override {
    for (const auto values : {a, b, std::span<const float>(out)}) require_floats(values.data(), out.size());
    put([=](HostCompute& host) { host.subtract(a, b, out); });
  }
  void block_momentum_step(std::span<const float> movement, std::span<float> momentum, std::span<float> model,
                           std::span<float> base, float decay) override {
    for (const float* const values :
         {movement.data(), static_cast<const float*>(momentum.data()),
          static_cast<const float*>(model.data()), static_cast<const float*>(base.data())}) {
      require_floats(values, model.size());
    }
    put([=](HostCompute& host) { host.block_momentum_step(movement, momentum, model, base, decay); });
  }

 protected:
  void finish() override { stream_.wait(); }
  std::byte* allocate_bytes(Place place, std::size_t bytes) override {
    const UseDevice here(device().number());
    return place == Place::device ? compress::allocate_device(bytes).release()
                                  : compress::allocate_pinned(bytes).release();
  }
  void release_bytes(Place place, std::byte* memory) noexcept override {
    stream_.wait();
    if (place == Place::device) {
      compress::FreeDevice()(memory);
    } else {
      compress::FreePinned()(memory);
    }
  }
  void copy_bytes(void* to, const void* from, std::size_t bytes) override {
    compress::copy_on(stream(), to, from, bytes);
  }
  void clear_bytes(void* memory, std::size_t bytes) override {
    compress::fill_on(stream(), memory, std::byte{0}, bytes);
  }
  void put_softmax(float* logits, std::size_t classes, const std::uint8_t* labels, std::size_t rows,
                   float scale, double* losses) override {
    require_floats(logits, rows * classes);
    require_bytes(labels, rows);
    require_bytes(losses, rows * sizeof *losses);
    put([=](HostCompute& host) {
      for (std::size_t row = 0; row < rows; ++row) {
        losses[row] =
            host.softmax_cross_entropy({logits + row * classes, classes}, classes, {labels + row, 1}, scale);
      }
    });
  }
  void put_sgd_step(std::span<float> weights, std::span<const float> gradients, std::span<float> velocity,
                    const SgdOptions& options, std::uint32_t* not_finite) override {
    for (const float* const values : {gradients.data(), static_cast<const float*>(weights.data()),
                                      static_cast<const float*>(velocity.data())}) {
      require_floats(values, weights.size());
    }
    require_bytes(not_finite, sizeof *not_finite);
    put([=](HostCompute& host) {
      if (!host.sgd_step(weights, gradients, velocity, options)) *not_finite = 1;
    });
  }
  void put_look(std::span<const float> values, std::uint32_t* not_finite) override {
    require_floats(values.data(), values.size());
    require_bytes(not_finite, sizeof *not_finite);
    put([=](HostCompute& host) {
      if (!host.is_finite(values)) *not_finite = 1;
    });
  }

 private:
  static compress::OwnStream stream_of(int number) {
    const UseDevice here(number);
    return {};
  }
  /// What a kernel may touch.
  void require_bytes(const void* memory, std::size_t bytes) const {
    const UseDevice here(device().number());
    compress::emulated::require_kernel_memory(memory, bytes);
  }
  void require_floats(const float* values, std::size_t count) const {
    require_bytes(values, count * sizeof *values);
  }
  template <class Work>
  void put(Work work) {
    put_on(stream(), [work = std::move(work)] {
      HostCompute host;
      work(host);
    });
  }

  compress::OwnStream stream_;
};

}  // namespace

int usable_devices() { return compress::emulated::kDevices; }
void require_young_enough(int /*number*/) {}
std::unique_ptr<Compute> make_device_compute(int number) { return std::make_unique<EmulatedCompute>(number); }

}  // namespace gradwire::trainer
