#include "compress/cuda/emulated_device.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/background_thread.hpp"
#include "base/float_mode.hpp"
#include "gradwire/error.hpp"

namespace gradwire::compress {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::align_val_t kAlignment{256};
/// What a fresh allocation holds: a NaN that nobody computes.
constexpr int kFresh = 0xFD;
/// A stream begins so much later at the most, so that whoever does not wait for it is found out.
constexpr int kLatenessMicroseconds = 60;

thread_local int current = 0;
/// Not on the library's own threads.
thread_local bool gives_back = true;
std::atomic<bool> just_missed{false};

/// Opens and closes all streams.
class Gate {
 public:
  void close() {
    const std::lock_guard lock(mutex_);
    ++closed_;
  }
  void open() {
    const std::lock_guard lock(mutex_);
    if (--closed_ == 0) changed_.notify_all();
  }
  void pass() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return closed_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int closed_ = 0;
};

Gate& gate() {
  static Gate instance;
  return instance;
}

/// Which memory is whose.
class Allocations {
 public:
  std::byte* add(std::size_t bytes) {
    PinnedMemory memory = allocate_pinned(bytes);
    const std::lock_guard lock(mutex_);
    blocks_[memory.get()] = {bytes, current};
    return memory.release();
  }
  void remove(std::byte* memory) noexcept {
    if (memory == nullptr) return;
    {
      const std::lock_guard lock(mutex_);
      blocks_.erase(memory);
    }
    ::operator delete[](memory, kAlignment);
  }
  /// The device that the bytes are on, all of one allocation; -1: none.
  int device_of(const void* pointer, std::size_t bytes) {
    const auto* address = static_cast<const std::byte*>(pointer);
    const std::lock_guard lock(mutex_);
    auto after = blocks_.upper_bound(address);
    if (after == blocks_.begin()) return -1;
    const auto& [begin, block] = *std::prev(after);
    const auto offset = static_cast<std::size_t>(address - begin);
    return offset < block.bytes && bytes <= block.bytes - offset ? block.device : -1;
  }

 private:
  struct Block {
    std::size_t bytes = 0;
    int device = 0;
  };
  std::mutex mutex_;
  std::map<const std::byte*, Block, std::less<>> blocks_;
};

Allocations& allocations() {
  static Allocations instance;
  return instance;
}

/// How far an event has come. It outlives its event where a stream still has to reach it.
struct Point {
  std::mutex mutex;
  std::condition_variable changed;
  std::uint64_t recorded = 0;
  std::uint64_t reached = 0;
  std::uint64_t missed = 0;  ///< the last record of which somebody was told that it was not reached
  Clock::time_point when;

  void reach(std::uint64_t record) {
    const std::lock_guard lock(mutex);
    reached = record;
    when = Clock::now();
    changed.notify_all();
  }
  void wait_for(std::uint64_t record) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return reached >= record; });
  }
};

}  // namespace
}  // namespace gradwire::compress

// NOLINTBEGIN(readability-identifier-naming): CUDA's names

struct CUstream_st {
  explicit CUstream_st(int on_device)
      : device(on_device),
        thread(gradwire::base::start_background_thread("an emulated stream", [this] { run(); })) {}
  ~CUstream_st() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    changed.notify_all();
    thread.join();
  }
  CUstream_st(const CUstream_st&) = delete;
  CUstream_st& operator=(const CUstream_st&) = delete;

  void put(std::function<void()> work) {
    {
      const std::lock_guard lock(mutex);
      waiting.push_back(std::move(work));
    }
    changed.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return waiting.empty() && !running; });
  }
  void run() {
    const gradwire::base::FloatMode float_mode;
    std::minstd_rand random(1);
    std::vector<std::function<void()>> batch;
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [this] { return stopping || !waiting.empty(); });
      if (waiting.empty()) return;
      running = true;
      lock.unlock();
      std::this_thread::sleep_for(
          std::chrono::microseconds(random() % gradwire::compress::kLatenessMicroseconds));
      lock.lock();
      batch.swap(waiting);
      lock.unlock();
      for (const auto& work : batch) {
        gate.pass();
        work();
      }
      batch.clear();
      lock.lock();
      running = false;
      changed.notify_all();
    }
  }

  const int device;
  gradwire::compress::Gate& gate = gradwire::compress::gate();  ///< made before, and so gone after
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::function<void()>> waiting;
  bool running = false;
  bool stopping = false;
  std::thread thread;
};

struct CUevent_st {
  int device = 0;
  std::shared_ptr<gradwire::compress::Point> point = std::make_shared<gradwire::compress::Point>();
};

// NOLINTEND(readability-identifier-naming)

namespace gradwire::compress {
namespace {

/// Null is the default stream of the current device.
::CUstream_st& at(Stream stream) {
  static std::array<::CUstream_st, emulated::kDevices> defaults{::CUstream_st(0), ::CUstream_st(1)};
  return stream == nullptr ? defaults.at(static_cast<std::size_t>(current)) : *stream;
}

void require_stream_of(int device, const ::CUstream_st& stream) {
  if (stream.device == device) return;
  throw Error(
      ErrorCode::invalid_argument,
      fmt::format("a stream of device {} was used where one of device {} is due", stream.device, device),
      "give a stream of the device that is current in this thread (cudaSetDevice)");
}

/// Copies take memory of the host too, but no piece of two allocations.
void require_whole(const void* pointer, std::size_t bytes) {
  if (allocations().device_of(pointer, 0) < 0 || allocations().device_of(pointer, bytes) >= 0) return;
  throw Error(ErrorCode::invalid_argument, fmt::format("{} bytes reach beyond their allocation", bytes),
              "copy no more than was allocated");
}

}  // namespace

namespace emulated {

void put_on(Stream stream, std::function<void()> work) { at(stream).put(std::move(work)); }

void require_kernel_memory(const void* pointer, std::size_t bytes) {
  if (pointer == nullptr || allocations().device_of(pointer, bytes) == current) return;
  throw Error(ErrorCode::invalid_argument,
              fmt::format("a kernel got {} bytes that are not on device {}", bytes, current),
              "give pointers to memory of the current device");
}

StreamsStandStill::StreamsStandStill() { gate().close(); }
StreamsStandStill::~StreamsStandStill() { gate().open(); }

EventsAreJustMissed::EventsAreJustMissed() { just_missed.store(true); }
EventsAreJustMissed::~EventsAreJustMissed() { just_missed.store(false); }

}  // namespace emulated

std::string why_no_device() { return {}; }
void require_device(std::string_view /*purpose*/) {}
std::string describe_device() { return "emulated on the host, for tests"; }

UseDevice::UseDevice(int device) {
  if (device < 0 || device >= emulated::kDevices) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("there is no CUDA device {} among {}", device, emulated::kDevices),
                "number them from 0");
  }
  if (device != current) before_ = std::exchange(current, device);
}
UseDevice::~UseDevice() {
  if (gives_back && before_ != kUnchanged) current = before_;
}
void UseDevice::leave_current_on_this_thread() noexcept { gives_back = false; }

void require_device_stream(Stream stream) { require_stream_of(current, at(stream)); }

void require_device_memory(const void* pointer, std::string_view what) {
  const int device = allocations().device_of(pointer, 0);
  if (device == current) return;
  throw Error(ErrorCode::invalid_argument,
              fmt::format("{} is {}, and kernels need it on CUDA device {}", what,
                          device < 0 ? "no memory that CUDA knows (the host's, or freed)"
                                     : fmt::format("memory of CUDA device {}", device),
                          current),
              fmt::format("pass memory of CUDA device {}, or say where it is", current));
}

void FreeDevice::operator()(std::byte* memory) const noexcept { allocations().remove(memory); }
void FreePinned::operator()(std::byte* memory) const noexcept { ::operator delete[](memory, kAlignment); }

DeviceMemory allocate_device(std::size_t bytes) { return DeviceMemory(allocations().add(bytes)); }

PinnedMemory allocate_pinned(std::size_t bytes) {
  auto* memory = static_cast<std::byte*>(::operator new[](bytes, kAlignment));
  std::memset(memory, kFresh, bytes);
  return PinnedMemory(memory);
}

void copy_on(Stream stream, void* to, const void* from, std::size_t bytes) {
  if (bytes == 0 || to == from) return;
  require_whole(to, bytes);
  require_whole(from, bytes);
  at(stream).put([=] { std::memcpy(to, from, bytes); });
}

void fill_on(Stream stream, void* to, std::byte value, std::size_t bytes) {
  if (bytes == 0) return;
  require_whole(to, bytes);
  at(stream).put([=] { std::memset(to, std::to_integer<int>(value), bytes); });
}

void DestroyStream::operator()(::CUstream_st* stream) const noexcept { delete stream; }
void DestroyEvent::operator()(::CUevent_st* event) const noexcept { delete event; }

OwnStream::OwnStream() : stream_(new ::CUstream_st(current)) {}
void OwnStream::wait() const { stream_->wait(); }

Event::Event() : Event(0) {}
Event::Event(unsigned /*flags*/) : event_(new ::CUevent_st{.device = current}) {}

void Event::record(Stream stream) const {
  ::CUstream_st& target = at(stream);
  require_stream_of(event_->device, target);
  const std::lock_guard lock(event_->point->mutex);
  target.put([point = event_->point, record = ++event_->point->recorded] { point->reach(record); });
}

void Event::hold(Stream stream) const {
  std::uint64_t record = 0;
  {
    const std::lock_guard lock(event_->point->mutex);
    record = event_->point->recorded;
  }
  at(stream).put([point = event_->point, record] { point->wait_for(record); });
}

bool Event::reached() const {
  Point& point = *event_->point;
  std::unique_lock lock(point.mutex);
  if (just_missed.load() && std::exchange(point.missed, point.recorded) != point.recorded) {
    point.changed.wait(lock, [&] { return point.reached == point.recorded; });
    return false;
  }
  return point.reached == point.recorded;
}

void Event::wait() const {
  Point& point = *event_->point;
  std::unique_lock lock(point.mutex);
  point.changed.wait(lock, [&] { return point.reached == point.recorded; });
}

TimedEvent::TimedEvent() : Event(0) {}
double TimedEvent::seconds_since(const TimedEvent& earlier) const {
  return std::chrono::duration<double>(get()->point->when - earlier.get()->point->when).count();
}

NonFiniteFlag::NonFiniteFlag()
    : device_(allocate_device(sizeof(std::uint32_t))), host_(allocate_pinned(sizeof(std::uint32_t))) {
  std::memset(host_.get(), 0, sizeof(std::uint32_t));
}

void NonFiniteFlag::gather_on(Stream stream, std::byte* base, const std::uint64_t* offsets,
                              std::size_t count) const {
  if (count == 0) return;
  emulated::require_kernel_memory(offsets, count * sizeof *offsets);
  emulated::require_kernel_memory(base, sizeof(std::uint32_t));
  emulated::put_on(stream, [=, flag = word()] {
    for (std::size_t i = 0; i < count; ++i) {
      auto* const other = reinterpret_cast<std::uint32_t*>(base + offsets[i]);
      if (std::exchange(*other, 0) != 0) *flag = 1;
    }
  });
}

}  // namespace gradwire::compress
