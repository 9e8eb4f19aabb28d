#include "runtime/stream_engine.hpp"

#include <algorithm>
#include <exception>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "base/limits.hpp"
#include "compress/cuda/device.hpp"

namespace gradwire::runtime {
namespace {

using Clock = std::chrono::steady_clock;

/// A device tells nobody what it has done: it is asked so often.
constexpr std::chrono::microseconds kShortestNap{20};
constexpr std::chrono::microseconds kLongestNap{800};
/// For streams to come to their ends when nothing on them waits for other ranks any more.
constexpr std::chrono::seconds kAbortPatience{5};
/// For what is left on a stream after that: its owner may have ended the waiting only then.
constexpr std::chrono::milliseconds kDrainPatience{100};

/// Whether something had ended before the deadline. `has_ended` may throw.
template <typename HasEnded>
bool watch(Clock::time_point deadline, HasEnded has_ended) {
  auto nap = kShortestNap;
  while (!has_ended()) {
    if (Clock::now() >= deadline) return false;
    std::this_thread::sleep_for(nap);
    nap = std::min(2 * nap, kLongestNap);
  }
  return true;
}

/// An invalid_argument leaves everything as it was, and so none makes links unusable: it comes too late, or
/// the links themselves cannot forget it.
Error as_failure(const Error& error) {
  if (error.code() != ErrorCode::invalid_argument) return error;
  return {ErrorCode::system, error.what(), "then make a new communicator on all ranks"};
}

}  // namespace

std::chrono::milliseconds StreamEngine::checked(std::chrono::milliseconds timeout) {
  if (timeout.count() > 0) return std::min(timeout, base::kLongestTimeout);
  throw Error(ErrorCode::invalid_argument, "a timeout that is not positive", "pass a time greater than zero");
}

StreamEngine::Options StreamEngine::Options::checked(int ranks) const {
  Options all = *this;
  all.timeout = StreamEngine::checked(timeout);
  if (!hosts.empty() && hosts.size() != static_cast<std::size_t>(ranks)) {
    throw Error(ErrorCode::invalid_argument, fmt::format("{} ranks and the hosts of {}", ranks, hosts.size()),
                "number the host of each rank, or leave them away");
  }
  if (!codec.empty()) (void)compress::make_codec(codec);
  return all;
}

StreamEngine::StreamEngine(std::unique_ptr<transport::StreamLinks> links, const Options& options)
    : links_(std::move(links)), options_(options.checked(links_->ranks())) {}

StreamEngine::~StreamEngine() = default;

std::unique_ptr<StreamOperation> StreamEngine::build(collectives::Collective collective,
                                                     std::span<const OperationTensor> tensors,
                                                     const OperationOptions& options) const {
  {
    const std::lock_guard lock(mutex_);
    throw_failure();
  }
  const compress::UseDevice here(device());
  return std::make_unique<StreamOperation>(
      collective, tensors, options, Place{rank(), world_size(), options_.hosts}, options_.codec, *links_);
}

/// Whatever an action throws is the end of the links: other ranks wait for the rest of it.
template <typename Action>
auto StreamEngine::guarded(Action action) {
  try {
    const std::lock_guard lock(mutex_);
    throw_failure();
    const compress::UseDevice here(device());
    return action();
  } catch (const Error& error) {
    const Error failure = as_failure(error);
    give_up(failure);
    throw Error(failure);
  } catch (const std::exception& error) {
    const Error failure(ErrorCode::system, error.what(), "free memory, then make a new communicator");
    give_up(failure);
    throw Error(failure);
  }
}

void StreamEngine::start(StreamOperation& operation) {
  const auto refused = guarded([&]() -> std::optional<Error> {
    links_->check();
    try {
      operation.enqueue();
    } catch (const Error& error) {
      if (error.code() != ErrorCode::invalid_argument || operation.has_begun() || !are_usable()) throw;
      return error;
    }
    return std::nullopt;
  });
  if (refused) throw Error(*refused);
}

bool StreamEngine::are_usable() const {
  try {
    links_->check();
    return true;
  } catch (const Error&) {
    return false;
  }
}

bool StreamEngine::done(const StreamOperation& operation) {
  return guarded([&] {
    const bool ended = operation.ended();
    links_->check();  // afterwards: failures, too, bring streams to their ends
    return ended;
  });
}

bool StreamEngine::wait(StreamOperation& operation) {
  try {
    wait_for_end(operation);
    if (!operation.non_finite()) return false;
    guarded([&] { operation.void_results(); });
    wait_for_end(operation);
    return true;
  } catch (const Error&) {
    // Where the links end what waits on the stream, nothing uses the tensors afterwards.
    if (links_end_streams_) wait_in_spite_of_failure(operation);
    throw;
  }
}

void StreamEngine::wait_for_end(const StreamOperation& operation) {
  if (watch(Clock::now() + options_.timeout, [&] { return done(operation); })) return;
  guarded([&] { throw timeout_error(operation); });
}

void StreamEngine::wait_in_spite_of_failure(const StreamOperation& operation) noexcept {
  Clock::time_point deadline = Clock::now() + kDrainPatience;
  {
    const std::lock_guard lock(mutex_);
    if (!last_deadline_) last_deadline_ = Clock::now() + kAbortPatience;
    deadline = std::max(deadline, *last_deadline_);
  }
  try {
    (void)watch(deadline, [&] { return operation.ended(); });
  } catch (const std::exception&) {
    // CUDA's answer to what has been reported already.
  }
}

Error StreamEngine::timeout_error(const StreamOperation& operation) const {
  return {
      ErrorCode::timeout,
      fmt::format("rank {} waited {:.3g} s for {} to come to its end on the stream of CUDA device {}", rank(),
                  std::chrono::duration<double>(options_.timeout).count(), operation.description(), device()),
      "find the rank that did not take part, or whose device is busy; a step that takes longer needs a "
      "longer timeout"};
}

void StreamEngine::end(std::unique_ptr<StreamOperation> operation) noexcept {
  try {
    // Where an exception of the caller's passes, the other ranks may have none, and wait for this one.
    if (!operation->ended() && std::uncaught_exceptions() > 0) abort();
    wait_for_end(*operation);
  } catch (const std::exception&) {
    wait_in_spite_of_failure(*operation);
  }
  try {
    const compress::UseDevice here(device());
    // To free memory waits for the device, for ever where a run waits for a rank that is gone.
    if (!operation->ended()) static_cast<void>(operation.release());
    operation.reset();
  } catch (const Error&) {
    // The device is lost, and the memory with it.
  }
}

void StreamEngine::abort() noexcept {
  // Another thread may hold the mutex while NCCL waits for a rank that does not come.
  links_->interrupt();
  try {
    give_up(transport::gave_up(rank()));
  } catch (const std::exception&) {
    // Memory is short: whoever uses the links finds out by himself.
    const std::lock_guard lock(mutex_);
    links_end_streams_ = links_->abort();
  }
}

void StreamEngine::throw_failure() const {
  if (failure_) throw Error(*failure_);
}

void StreamEngine::give_up(const Error& error) {
  const std::lock_guard lock(mutex_);
  if (failure_) return;
  failure_ = error;
  links_end_streams_ = links_->abort();
}

}  // namespace gradwire::runtime
