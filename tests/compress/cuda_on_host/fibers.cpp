#include "fibers.hpp"

#include <ucontext.h>

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace cuda_on_host {
namespace {

// AddressSanitizer has to know on which stack the program is. `frames` are what it keeps of the one that is
// left.

#if defined(__SANITIZE_ADDRESS__)
void begin_switch(void** frames, const void* stack, std::size_t bytes) {
  __sanitizer_start_switch_fiber(frames, stack, bytes);
}
void end_switch(void* frames, const void** left, std::size_t* bytes) {
  __sanitizer_finish_switch_fiber(frames, left, bytes);
}
#else
void begin_switch(void** /*frames*/, const void* /*stack*/, std::size_t /*bytes*/) {}
void end_switch(void* /*frames*/, const void** /*left*/, std::size_t* /*bytes*/) {}
#endif

/// One thread of the block.
struct Fiber {
  ucontext_t start;
  std::jmp_buf here;
  std::vector<char> stack;
  void* frames = nullptr;
  bool started = false;
  At at = At::nothing;
  unsigned distance = 0;  ///< of an exchange
  unsigned given = 0;
  unsigned got = 0;
};

[[noreturn]] inline void give_up(const char* what) {
  std::fprintf(stderr, "CUDA on the host: %s\n", what);
  std::abort();
}

/// Runs one block after the other.
class Block {
 public:
  static Block& instance() {
    static Block block;
    return block;
  }

  void run(unsigned threads, bool backwards, const std::function<void()>& body,
           const std::function<void(unsigned)>& switched) {
    if (threads == 0 || threads % kLanes != 0) give_up("a block is not made of whole warps");
    while (fibers_.size() < threads) add_fiber();
    body_ = &body;
    switched_ = &switched;
    backwards_ = backwards;
    for (unsigned i = 0; i < threads; ++i) fibers_[i]->at = At::nothing;
    const unsigned warps = threads / kLanes;
    for (;;) {
      for (unsigned w = 0; w < warps; ++w) run_warp((backwards ? warps - 1 - w : w) * kLanes);
      const At at = fibers_[0]->at;
      for (unsigned w = 1; w < warps; ++w) {
        if (fibers_[w * kLanes]->at != at) give_up("some warps wait at a barrier that others do not come to");
      }
      if (at == At::end) return;
      for (unsigned i = 0; i < threads; ++i) fibers_[i]->at = At::nothing;
    }
  }

  unsigned meet(At at, unsigned given, unsigned distance) {
    Fiber& fiber = *fibers_[current_];
    fiber.given = given;
    fiber.distance = distance;
    leave(fiber, at);
    return fibers_[current_]->got;
  }

 private:
  static constexpr std::size_t kStack = 64 * 1024;

  void add_fiber() {
    auto fiber = std::make_unique<Fiber>();
    fiber->stack.resize(kStack);
    getcontext(&fiber->start);
    fiber->start.uc_stack.ss_sp = fiber->stack.data();
    fiber->start.uc_stack.ss_size = fiber->stack.size();
    fiber->start.uc_link = nullptr;
    makecontext(&fiber->start, &Block::enter, 0);
    fibers_.push_back(std::move(fiber));
  }

  /// A fiber takes one block's thread after the other.
  static void enter() {
    Block& block = instance();
    end_switch(nullptr, &block.scheduler_stack_, &block.scheduler_stack_bytes_);
    for (;;) {
      (*block.body_)();  // NOLINT(clang-analyzer-core.CallAndMessage): fibers begin in run(), which names it
      block.leave(*block.fibers_[block.current_], At::end);
    }
  }

  void leave(Fiber& fiber, At at) {
    fiber.at = at;
    if (_setjmp(fiber.here) == 0) {
      begin_switch(&fiber.frames, scheduler_stack_, scheduler_stack_bytes_);
      std::longjmp(scheduler_, 1);
    }
    end_switch(fibers_[current_]->frames, &scheduler_stack_, &scheduler_stack_bytes_);
  }

  void go_on(unsigned i) {
    current_ = i;
    (*switched_)(i);
    if (_setjmp(scheduler_) != 0) {
      end_switch(scheduler_frames_, nullptr, nullptr);
      return;
    }
    Fiber& fiber = *fibers_[i];
    begin_switch(&scheduler_frames_, fiber.stack.data(), fiber.stack.size());
    if (fiber.started) std::longjmp(fiber.here, 1);
    fiber.started = true;
    setcontext(&fiber.start);
  }

  /// To the next barrier, or to the end.
  void run_warp(unsigned first) {
    for (;;) {
      for (unsigned l = 0; l < kLanes; ++l) go_on(first + (backwards_ ? kLanes - 1 - l : l));
      const Fiber& leader = *fibers_[first];
      for (unsigned l = 1; l < kLanes; ++l) {
        const Fiber& fiber = *fibers_[first + l];
        if (fiber.at != leader.at || fiber.distance != leader.distance) {
          give_up("the lanes of a warp have come to different places");
        }
      }
      if (leader.at == At::barrier || leader.at == At::end) return;
      answer(first, leader.at, leader.distance);
    }
  }

  void answer(unsigned first, At at, unsigned distance) {
    unsigned votes = 0;
    for (unsigned l = 0; l < kLanes; ++l) votes |= (fibers_[first + l]->given & 1U) << l;
    for (unsigned l = 0; l < kLanes; ++l) {
      fibers_[first + l]->got = at == At::ballot ? votes : fibers_[first + (l ^ distance)]->given;
    }
  }

  // By pointer: a fiber's registers are restored from where they were saved.
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::jmp_buf scheduler_{};
  const void* scheduler_stack_ = nullptr;
  std::size_t scheduler_stack_bytes_ = 0;
  void* scheduler_frames_ = nullptr;
  unsigned current_ = 0;
  bool backwards_ = false;
  const std::function<void()>* body_ = nullptr;
  const std::function<void(unsigned)>* switched_ = nullptr;
};

}  // namespace

void run_block(unsigned threads, bool backwards, const std::function<void()>& body,
               const std::function<void(unsigned)>& switched) {
  Block::instance().run(threads, backwards, body, switched);
}

unsigned meet(At at, unsigned given, unsigned distance) {
  return Block::instance().meet(at, given, distance);
}

}  // namespace cuda_on_host
