// What a build without CUDA has in place of the .cu files.

#include "compress/cuda/device_codecs.hpp"
#include "gradwire/error.hpp"

namespace gradwire::compress {
namespace {

constexpr const char* kReason = "this build of Gradwire has no CUDA";

[[noreturn]] void refuse() {
  throw Error(ErrorCode::unsupported, kReason,
              "configure with -DGRADWIRE_WITH_CUDA=ON, or keep the tensors on the host");
}

}  // namespace

std::string why_no_device() { return kReason; }
void require_device(std::string_view /*purpose*/) { refuse(); }
std::string describe_device() { return "left out of this build"; }
void require_device_stream(Stream /*stream*/) {}
void require_device_memory(const void* /*pointer*/, std::string_view /*what*/) { refuse(); }

UseDevice::UseDevice(int /*device*/) { refuse(); }
UseDevice::~UseDevice() = default;
void UseDevice::leave_current_on_this_thread() noexcept {}

void FreeDevice::operator()(std::byte* /*memory*/) const noexcept {}
void FreePinned::operator()(std::byte* /*memory*/) const noexcept {}
DeviceMemory allocate_device(std::size_t /*bytes*/) { refuse(); }
PinnedMemory allocate_pinned(std::size_t /*bytes*/) { refuse(); }
void copy_on(Stream /*stream*/, void* /*to*/, const void* /*from*/, std::size_t /*bytes*/) { refuse(); }
void fill_on(Stream /*stream*/, void* /*to*/, std::byte /*value*/, std::size_t /*bytes*/) { refuse(); }

void DestroyStream::operator()(::CUstream_st* /*stream*/) const noexcept {}
void DestroyEvent::operator()(::CUevent_st* /*event*/) const noexcept {}

OwnStream::OwnStream() { refuse(); }
void OwnStream::wait() const { refuse(); }

Event::Event() : Event(0) {}
Event::Event(unsigned /*flags*/) { refuse(); }
void Event::record(Stream /*stream*/) const { refuse(); }
void Event::hold(Stream /*stream*/) const { refuse(); }
bool Event::reached() const { refuse(); }
void Event::wait() const { refuse(); }

TimedEvent::TimedEvent() : Event(0) {}
double TimedEvent::seconds_since(const TimedEvent& /*earlier*/) const { refuse(); }

NonFiniteFlag::NonFiniteFlag() { refuse(); }
void NonFiniteFlag::gather_on(Stream /*stream*/, std::byte* /*base*/, const std::uint64_t* /*offsets*/,
                              std::size_t /*count*/) const {
  refuse();
}

void load_finish_sum_kernels() { refuse(); }
void start_finish_sum(const Encode& /*in*/, float* /*result*/, bool /*look*/, const Launch& /*launch*/) {
  refuse();
}

void load_half_conversions() { refuse(); }
void start_widening(HalfFormat /*format*/, const std::byte* /*in*/, float* /*out*/, std::size_t /*count*/,
                    Stream /*stream*/) {
  refuse();
}
void start_narrowing(HalfFormat /*format*/, const float* /*in*/, std::byte* /*out*/, std::size_t /*count*/,
                     const Launch& /*launch*/) {
  refuse();
}

// The signatures are those of functions that keep what they get.
// NOLINTBEGIN(performance-unnecessary-value-param)
std::unique_ptr<const DeviceCodec> make_plain_device_codec(std::shared_ptr<const Codec> /*host*/) {
  refuse();
}
std::unique_ptr<const DeviceCodec> make_half_device_codec(std::shared_ptr<const Codec> /*host*/,
                                                          HalfFormat /*format*/) {
  refuse();
}
std::unique_ptr<const DeviceCodec> make_onebit_device_codec(std::shared_ptr<const Codec> /*host*/,
                                                            const OnebitOptions& /*options*/) {
  refuse();
}

// NOLINTEND(performance-unnecessary-value-param)

}  // namespace gradwire::compress
