#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <string>

#include "gradwire/error.hpp"
#include "trainer/device/check_cuda.hpp"
#include "trainer/device/cublas.hpp"
#include "trainer/device/device_compute.hpp"
#include "trainer/device/model_kernels.hpp"

namespace gradwire::trainer {
namespace {

/// Makes the device the current one of this thread. The library, which has a CUDA runtime of its own, may
/// have had another one current meanwhile, so whatever needs it says so anew.
int use(int device) {
  check_cuda(cudaSetDevice(device), "make a device the current one");
  return device;
}

struct DestroyStream {
  void operator()(CUstream_st* stream) const noexcept { (void)cudaStreamDestroy(stream); }
};
using Stream = std::unique_ptr<CUstream_st, DestroyStream>;

/// Does not wait for the default stream.
Stream make_stream() {
  CUstream_st* stream = nullptr;
  check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "make a stream");
  return Stream(stream);
}

struct DestroyEvent {
  void operator()(CUevent_st* event) const noexcept { (void)cudaEventDestroy(event); }
};
using Event = std::unique_ptr<CUevent_st, DestroyEvent>;

/// Who waits for it sleeps, where who waits for a stream would keep a core busy that other ranks have use
/// for.
Event make_event() {
  CUevent_st* event = nullptr;
  check_cuda(cudaEventCreateWithFlags(&event, cudaEventBlockingSync | cudaEventDisableTiming),
             "make an event");
  return Event(event);
}

class CudaCompute final : public DeviceCompute {
 public:
  explicit CudaCompute(int number)
      : DeviceCompute(use(number)),
        stream_(make_stream()),
        done_(make_event()),
        cublas_(CublasLibrary::get(), stream()) {
    kernels::load();
  }
  ~CudaCompute() override {
    (void)cudaSetDevice(device().number());
    let_go();
  }

  [[nodiscard]] CUstream_st* stream() const noexcept override { return stream_.get(); }

  void gemm(Transpose transpose_a, Transpose transpose_b, int m, int n, int k, const float* a, const float* b,
            float* c) override {
    enter();
    cublas_.gemm(transpose_a, transpose_b, m, n, k, a, b, c);
  }
  void add_bias(float* values, const float* bias, std::size_t rows, std::size_t columns) override {
    enter();
    kernels::add_bias(values, bias, rows, columns, false, stream());
  }
  void add_bias_and_rectify(float* values, const float* bias, std::size_t rows,
                            std::size_t columns) override {
    enter();
    kernels::add_bias(values, bias, rows, columns, true, stream());
  }
  void sum_rows(const float* values, float* sums, std::size_t rows, std::size_t columns) override {
    enter();
    kernels::sum_rows(values, sums, rows, columns, stream());
  }
  void mask_rectified(float* delta, const float* activation, std::size_t count) override {
    enter();
    kernels::mask_rectified(delta, activation, count, stream());
  }
  void subtract(std::span<const float> a, std::span<const float> b, std::span<float> out) override {
    enter();
    kernels::subtract(a, b, out, stream());
  }
  void block_momentum_step(std::span<const float> movement, std::span<float> momentum, std::span<float> model,
                           std::span<float> base, float decay) override {
    enter();
    kernels::block_momentum_step(movement, momentum, model, base, decay, stream());
  }

 protected:
  void finish() override {
    enter();
    check_cuda(wait_asleep(), "finish what is on a stream");
  }
  std::byte* allocate_bytes(Place place, std::size_t bytes) override {
    enter();
    void* memory = nullptr;
    if (place == Place::device) {
      check_cuda(cudaMalloc(&memory, bytes), fmt::format("allocate {} bytes on the device", bytes));
    } else {
      check_cuda(cudaMallocHost(&memory, bytes), fmt::format("allocate {} bytes of pinned memory", bytes));
    }
    return static_cast<std::byte*>(memory);
  }
  void release_bytes(Place place, std::byte* memory) noexcept override {
    (void)cudaSetDevice(device().number());
    (void)wait_asleep();
    (void)(place == Place::device ? cudaFree(memory) : cudaFreeHost(memory));
  }
  void copy_bytes(void* to, const void* from, std::size_t bytes) override {
    if (bytes == 0) return;
    enter();
    check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream()), "start a copy");
  }
  void clear_bytes(void* memory, std::size_t bytes) override {
    if (bytes == 0) return;
    enter();
    check_cuda(cudaMemsetAsync(memory, 0, bytes, stream()), "start clearing memory");
  }
  void put_softmax(float* logits, std::size_t classes, const std::uint8_t* labels, std::size_t rows,
                   float scale, double* losses) override {
    enter();
    kernels::softmax(logits, classes, labels, rows, scale, losses, stream());
  }
  void put_sgd_step(std::span<float> weights, std::span<const float> gradients, std::span<float> velocity,
                    const SgdOptions& options, std::uint32_t* not_finite) override {
    enter();
    kernels::sgd_step(weights, gradients, velocity, options, not_finite, stream());
  }
  void put_look(std::span<const float> values, std::uint32_t* not_finite) override {
    enter();
    kernels::look(values, not_finite, stream());
  }

 private:
  void enter() const { use(device().number()); }
  [[nodiscard]] cudaError_t wait_asleep() const noexcept {
    const cudaError_t status = cudaEventRecord(done_.get(), stream());
    return status != cudaSuccess ? status : cudaEventSynchronize(done_.get());
  }

  Stream stream_;
  Event done_;
  Cublas cublas_;
};

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  check_cuda(cudaDeviceGetAttribute(&value, which, device), "ask what a device can do");
  return value;
}

/// Of a compute capability as 800 is 8.0.
std::string version_text(int number) { return fmt::format("{}.{}", number / 100, number / 10 % 10); }

}  // namespace

void require_young_enough(int number) {
  // No context is made for that, so that a program that only starts ranks leaves the device to them.
  const int has = 100 * attribute(cudaDevAttrComputeCapabilityMajor, number) +
                  10 * attribute(cudaDevAttrComputeCapabilityMinor, number);
  const auto built_for = kernels::built_for();
  if (has >= built_for.front()) return;
  std::string versions;
  for (const int one : built_for) versions += (versions.empty() ? "" : ", ") + version_text(one);
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, number), "ask for a device's name");
  throw Error(
      ErrorCode::unsupported,
      fmt::format("CUDA device {} ({}) has compute capability {}, and this build's kernels are for {}",
                  number, static_cast<const char*>(properties.name), version_text(has), versions),
      "take another device (--device cuda:N, or CUDA_VISIBLE_DEVICES to leave this one out), or use "
      "--device cpu");
}

int usable_devices() {
  constexpr const char* kAdvice = "see what nvidia-smi says, or use --device cpu";
  int devices = 0;
  const cudaError_t status = cudaGetDeviceCount(&devices);
  if (status != cudaSuccess) {
    (void)cudaGetLastError();
    int driver = 0;
    const bool has_none = cudaDriverGetVersion(&driver) == cudaSuccess && driver == 0;
    throw Error(ErrorCode::unsupported,
                has_none ? "there is no CUDA driver here"
                         : fmt::format("CUDA cannot be used here: {}", cudaGetErrorString(status)),
                kAdvice);
  }
  if (devices == 0) throw Error(ErrorCode::unsupported, "there is no CUDA device here", kAdvice);
  (void)CublasLibrary::get();
  return devices;
}

std::unique_ptr<Compute> make_device_compute(int number) { return std::make_unique<CudaCompute>(number); }

}  // namespace gradwire::trainer
