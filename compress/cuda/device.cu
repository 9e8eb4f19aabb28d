#include "compress/cuda/device.hpp"

#include <cstring>
#include <string>

#include "compress/cuda/launch.cuh"
#include "gradwire/error.hpp"

namespace gradwire::compress {
namespace {

/// Compute capability 8.0: what the kernels are built for at the least.
constexpr int kOldestMajor = 8;

/// Not on the library's own threads.
thread_local bool gives_back = true;

ErrorCode code_of(cudaError_t status) {
  switch (status) {
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorInvalidDeviceFunction:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorUnsupportedPtxVersion: return ErrorCode::unsupported;
    case cudaErrorInvalidValue:
    case cudaErrorInvalidResourceHandle: return ErrorCode::invalid_argument;
    default: return ErrorCode::system;
  }
}

const char* advice_for(cudaError_t status) {
  switch (status) {
    case cudaErrorMemoryAllocation: return "free memory there, or use fewer processes per device";
    case cudaErrorInvalidResourceHandle:
      return "give a stream of the device that is current in this thread (cudaSetDevice)";
    case cudaErrorInvalidValue: return "give pointers to memory of the current device";
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver: return "see what nvidia-smi says, or keep the tensors on the host";
    case cudaErrorInvalidDeviceFunction:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorUnsupportedPtxVersion: return "build with CMAKE_CUDA_ARCHITECTURES for this device";
    case cudaErrorDevicesUnavailable:
      return "another process may hold the device for itself: give each process its own "
             "(CUDA_VISIBLE_DEVICES), "
             "or let them share (nvidia-smi --compute-mode=DEFAULT)";
    default:
      return "if a kernel failed earlier, no CUDA call of this process works any more: run under "
             "compute-sanitizer to find it";
  }
}

int current_device() {
  int device = 0;
  check_cuda(cudaGetDevice(&device), "ask for the current device");
  return device;
}

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  check_cuda(cudaDeviceGetAttribute(&value, which, device), "ask what the device can do");
  return value;
}

std::string name_of(int device) {
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, device), "ask for the device's name");
  return properties.name;
}

// fmt 9 does not compile with nvcc.

std::string version_text(int major, int minor) { return std::to_string(major) + "." + std::to_string(minor); }

std::string device_text(int device) {
  return "device " + std::to_string(device) + " (" + name_of(device) + ")";
}

/// Empty when the current device is young enough.
std::string why_too_old() {
  const int device = current_device();
  const int major = attribute(cudaDevAttrComputeCapabilityMajor, device);
  if (major >= kOldestMajor) return "";
  const int minor = attribute(cudaDevAttrComputeCapabilityMinor, device);
  return "CUDA " + device_text(device) + " has compute capability " + version_text(major, minor) +
         ", and the kernels need " + version_text(kOldestMajor, 0);
}

/// Where kernels of a device cannot use it: what it is.
std::string why_not_memory_of(int device, const cudaPointerAttributes& memory) {
  switch (memory.type) {
    case cudaMemoryTypeManaged: return "";
    case cudaMemoryTypeDevice:
      return memory.device == device ? "" : "memory of CUDA device " + std::to_string(memory.device);
    case cudaMemoryTypeUnregistered: return "no memory that CUDA knows (the host's, or freed)";
    default: return "memory of the host";
  }
}

constexpr const char* kNoDriver = "there is no CUDA driver here";

/// CUDA calls that a driver that is too old.
bool has_no_driver(cudaError_t status) {
  int driver = 0;
  return status == cudaErrorInsufficientDriver && cudaDriverGetVersion(&driver) == cudaSuccess && driver == 0;
}

constexpr unsigned kGatherThreads = 128;

__global__ void __launch_bounds__(kGatherThreads)
    gather_flags_kernel(std::byte* base, const std::uint64_t* offsets, std::size_t count,
                        std::uint32_t* flag) {
  for (std::size_t i = threadIdx.x; i < count; i += kGatherThreads) {
    auto* const word = reinterpret_cast<std::uint32_t*>(base + offsets[i]);
    if (*word == 0) continue;
    *word = 0;
    *flag = 1;
  }
}

}  // namespace

void check_cuda(cudaError_t status, std::string_view doing) {
  if (status == cudaSuccess) return;
  // It would be reported to whoever asks for the last error next, who may not be one of ours.
  (void)cudaGetLastError();
  const std::string why = has_no_driver(status) ? kNoDriver : cudaGetErrorString(status);
  throw Error(code_of(status), "CUDA could not " + std::string(doing) + ": " + why, advice_for(status));
}

std::string why_no_device() {
  int devices = 0;
  const cudaError_t status = cudaGetDeviceCount(&devices);
  if (status != cudaSuccess) {
    (void)cudaGetLastError();
    if (has_no_driver(status)) return kNoDriver;
    return std::string("CUDA cannot be used here: ") + cudaGetErrorString(status);
  }
  if (devices == 0) return "there is no CUDA device here";
  try {
    return why_too_old();
  } catch (const Error& error) {
    return error.what();
  }
}

void require_device(std::string_view purpose) {
  const std::string reason = why_no_device();
  if (reason.empty()) return;
  throw Error(ErrorCode::unsupported, std::string(purpose) + " is not possible: " + reason,
              "see what nvidia-smi says, or keep the tensors on the host");
}

std::string describe_device() {
  std::string device = why_no_device();
  if (device.empty()) {
    try {
      device = device_text(current_device());
    } catch (const Error& error) {
      device = error.what();
    }
  }
  return version_text(CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10) + "; " + device;
}

void require_device_stream(Stream stream) {
#if CUDART_VERSION >= 12080
  // The default stream is the current device's own.
  if (stream == nullptr) return;
  int device = 0;
  const cudaError_t status = cudaStreamGetDevice(stream, &device);
  if (status == cudaErrorCallRequiresNewerDriver) {
    (void)cudaGetLastError();
    return;
  }
  check_cuda(status, "ask for a stream's device");
  const int current = current_device();
  if (device == current) return;
  throw Error(ErrorCode::invalid_argument,
              "a stream of CUDA device " + std::to_string(device) + " was given where device " +
                  std::to_string(current) + " is current in this thread",
              advice_for(cudaErrorInvalidResourceHandle));
#else
  (void)stream;
#endif
}

void require_device_memory(const void* pointer, std::string_view what) {
  cudaPointerAttributes memory{};
  check_cuda(cudaPointerGetAttributes(&memory, pointer), "ask what a pointer is to");
  const int device = current_device();
  const std::string reason = why_not_memory_of(device, memory);
  if (reason.empty()) return;
  const std::string due = "CUDA device " + std::to_string(device);
  throw Error(ErrorCode::invalid_argument,
              std::string(what) + " is " + reason + ", and kernels need it on " + due,
              "pass memory of " + due + ", or say where it is");
}

UseDevice::UseDevice(int device) {
  const int current = current_device();
  if (device == current) return;
  int devices = 0;
  check_cuda(cudaGetDeviceCount(&devices), "count the devices");
  if (device < 0 || device >= devices) {
    throw Error(ErrorCode::invalid_argument,
                "there is no CUDA device " + std::to_string(device) + " among " + std::to_string(devices),
                "number them from 0, as CUDA_VISIBLE_DEVICES leaves them");
  }
  check_cuda(cudaSetDevice(device), "make a device the current one");
  before_ = current;
}
UseDevice::~UseDevice() {
  if (gives_back && before_ != kUnchanged) (void)cudaSetDevice(before_);
}
void UseDevice::leave_current_on_this_thread() noexcept { gives_back = false; }

void FreeDevice::operator()(std::byte* memory) const noexcept { (void)cudaFree(memory); }
void FreePinned::operator()(std::byte* memory) const noexcept { (void)cudaFreeHost(memory); }

DeviceMemory allocate_device(std::size_t bytes) {
  void* memory = nullptr;
  check_cuda(cudaMalloc(&memory, bytes), "allocate " + std::to_string(bytes) + " bytes on the device");
  return DeviceMemory(static_cast<std::byte*>(memory));
}

PinnedMemory allocate_pinned(std::size_t bytes) {
  void* memory = nullptr;
  check_cuda(cudaMallocHost(&memory, bytes), "allocate " + std::to_string(bytes) + " bytes of pinned memory");
  return PinnedMemory(static_cast<std::byte*>(memory));
}

void copy_on(Stream stream, void* to, const void* from, std::size_t bytes) {
  if (bytes == 0 || to == from) return;
  check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream), "start a copy");
}

void fill_on(Stream stream, void* to, std::byte value, std::size_t bytes) {
  if (bytes == 0) return;
  check_cuda(cudaMemsetAsync(to, std::to_integer<int>(value), bytes, stream), "start filling memory");
}

void DestroyStream::operator()(::CUstream_st* stream) const noexcept { (void)cudaStreamDestroy(stream); }
void DestroyEvent::operator()(::CUevent_st* event) const noexcept { (void)cudaEventDestroy(event); }

OwnStream::OwnStream() {
  Stream stream = nullptr;
  check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "make a stream");
  stream_.reset(stream);
}
void OwnStream::wait() const { check_cuda(cudaStreamSynchronize(get()), "finish what is on a stream"); }

Event::Event() : Event(cudaEventDisableTiming | cudaEventBlockingSync) {}
Event::Event(unsigned flags) {
  ::CUevent_st* event = nullptr;
  check_cuda(cudaEventCreateWithFlags(&event, flags), "make an event");
  event_.reset(event);
}
void Event::record(Stream stream) const {
  check_cuda(cudaEventRecord(event_.get(), stream), "record an event");
}
void Event::hold(Stream stream) const {
  check_cuda(cudaStreamWaitEvent(stream, event_.get(), 0), "make a stream wait for an event");
}
bool Event::reached() const {
  const cudaError_t status = cudaEventQuery(event_.get());
  if (status == cudaErrorNotReady) {
    (void)cudaGetLastError();
    return false;
  }
  check_cuda(status, "finish what is before an event");
  return true;
}
void Event::wait() const { check_cuda(cudaEventSynchronize(event_.get()), "finish what is before an event"); }

TimedEvent::TimedEvent() : Event(cudaEventDefault) {}
double TimedEvent::seconds_since(const TimedEvent& earlier) const {
  float milliseconds = 0;
  check_cuda(cudaEventElapsedTime(&milliseconds, earlier.get(), get()), "read the time between two events");
  return milliseconds / 1e3;
}

NonFiniteFlag::NonFiniteFlag()
    : device_(allocate_device(sizeof(std::uint32_t))), host_(allocate_pinned(sizeof(std::uint32_t))) {
  std::memset(host_.get(), 0, sizeof(std::uint32_t));
  load_kernel(gather_flags_kernel);
}

void NonFiniteFlag::gather_on(Stream stream, std::byte* base, const std::uint64_t* offsets,
                              std::size_t count) const {
  if (count == 0) return;
  launch_kernel(gather_flags_kernel, {.blocks = 1, .threads = kGatherThreads}, stream, base, offsets, count,
                word());
}

}  // namespace gradwire::compress
