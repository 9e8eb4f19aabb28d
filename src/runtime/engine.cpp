#include "runtime/engine.hpp"

#include <algorithm>
#include <exception>
#include <utility>

#include <fmt/format.h>

#include "base/background_thread.hpp"
#include "base/float_mode.hpp"
#include "gradwire/error.hpp"
#include "runtime/join.hpp"
#include "runtime/split_id.hpp"
#include "transport/mpi/mpi_transport.hpp"

namespace gradwire::runtime {
namespace {

constexpr std::size_t kCachedOperations = 32;
constexpr std::size_t kExpectedInFlight = 64;
constexpr std::chrono::milliseconds kClosePatience{2000};
/// So long between two looks counts as waiting, however long the caller stayed away.
constexpr std::chrono::milliseconds kAway{50};
/// A device tells nobody what it has done: it is asked so often.
constexpr std::chrono::microseconds kShortestNap{50};
constexpr std::chrono::microseconds kLongestNap{800};

}  // namespace

Engine::Engine(CommunicatorOptions options) : options_(std::move(options)) {
  endpoint_ = join(options_);
  if (endpoint_) channels_.resize(static_cast<std::size_t>(options_.world_size));
  for (int peer = 0; peer < static_cast<int>(channels_.size()); ++peer) {
    if (peer != options_.rank) channels_[static_cast<std::size_t>(peer)].link = &endpoint_->link(peer);
  }
  receive_blocked_.resize(channels_.size());
  send_blocked_.resize(channels_.size());
  submitted_.reserve(kExpectedInFlight);
  active_.reserve(kExpectedInFlight);
  if (options_.progress_thread) start_progress_thread();
}

Engine::~Engine() {
  // Where an exception of the caller's passes, the other ranks may have none, and never come to an end.
  if (std::uncaught_exceptions() > 0) transport::leave_mpi_unfinished();
  {
    const std::lock_guard lock(mutex_);
    stopping_.store(true);
  }
  changed_.notify_all();
  if (endpoint_) endpoint_->wake();
  if (progress_thread_.joinable()) progress_thread_.join();
  if (!endpoint_ || failed_.load()) return;
  if (in_flight_.load() == 0 && !has_submissions_.load()) {
    endpoint_->close(kClosePatience);
  } else {
    abort();  // operations that others count on will never be finished here
  }
}

std::shared_ptr<Operation> Engine::build(collectives::Collective collective,
                                         std::span<const OperationTensor> tensors,
                                         const OperationOptions& options) const {
  return build_operation(collective, tensors, options, {rank(), world_size(), hosts()}, options_.codec);
}

std::shared_ptr<Operation> Engine::cached(collectives::Collective collective,
                                          std::span<const OperationTensor> tensors,
                                          const OperationOptions& options) {
  const std::string description = describe_operation(collective, tensors, options, hosts(), options_.codec);
  const Device device = check_place(tensors);
  {
    const std::lock_guard lock(mutex_);
    for (auto entry = cache_.begin(); entry != cache_.end(); ++entry) {
      // Only the cache holds it: nobody can be running it, or about to.
      if (entry->use_count() != 1 || (*entry)->description != description) continue;
      if ((*entry)->device != device) continue;
      (*entry)->bind(tensors);
      (*entry)->set_tag(options.tag);
      (*entry)->stream = options.stream;
      std::rotate(entry, entry + 1, cache_.end());  // the last to be dropped
      return cache_.back();
    }
  }
  auto operation = build(collective, tensors, options);
  const std::lock_guard lock(mutex_);
  if (cache_.size() == kCachedOperations) cache_.erase(cache_.begin());
  cache_.push_back(operation);
  return operation;
}

Work Engine::submit(const std::shared_ptr<Operation>& operation) {
  std::unique_lock lock(mutex_);
  throw_failure();
  if (operation->running()) {
    throw Error(ErrorCode::invalid_argument, "a plan was started again before its last run ended",
                "wait for the Work first, or make a second plan");
  }
  operation->note_stream();
  operation->number = next_number_++;
  order_hash_ = chain_hash(order_hash_, operation->fingerprint);
  operation->order_hash = order_hash_;
  const std::uint64_t sequence = operation->submitted.fetch_add(1) + 1;
  submitted_.push_back(operation);
  has_submissions_.store(true);
  Work work = make_work(shared_from_this(), operation, sequence);
  if (driving_) {
    if (endpoint_) endpoint_->wake();
    return work;
  }
  if (progress_thread_.joinable()) {
    lock.unlock();
    changed_.notify_all();
    return work;
  }
  // Nobody drives: let the first frames leave now.
  driving_ = true;
  lock.unlock();
  drive([passes = 0]() mutable { return passes++ > 0; }, std::nullopt);
  lock.lock();
  driving_ = false;
  lock.unlock();
  changed_.notify_all();
  return work;
}

bool Engine::work_done(const void* operation, std::uint64_t sequence) const noexcept {
  return static_cast<const Operation*>(operation)->completed.load() >= sequence || failed_.load();
}

bool Engine::wait_for_work(void* work, std::uint64_t sequence, std::optional<Clock::time_point> deadline) {
  Operation& operation = *static_cast<Operation*>(work);
  const auto begin = Clock::now();
  const auto enough = [&] { return work_done(work, sequence); };
  const auto too_late = [&] { return deadline && Clock::now() >= *deadline; };
  std::unique_lock lock(mutex_);
  bool drove = false;
  while (!enough()) {
    if (driving_ || progress_thread_.joinable()) {
      if (too_late()) break;
      if (deadline) {
        changed_.wait_until(lock, *deadline);
      } else {
        changed_.wait(lock);
      }
      continue;
    }
    // Who polls with a time of zero makes progress too.
    if (std::exchange(drove, true) && too_late()) break;
    driving_ = true;
    lock.unlock();
    drive(enough, deadline);
    lock.lock();
    driving_ = false;
    changed_.notify_all();
  }
  traffic_.exposed_seconds += std::chrono::duration<double>(Clock::now() - begin).count();
  if (operation.completed.load() < sequence) {
    throw_failure();
    return false;
  }
  if (operation.non_finite.load() && operation.on_non_finite == OnNonFinite::error) {
    throw Error(ErrorCode::non_finite,
                fmt::format("a NaN or infinity entered {} on some rank", operation.name()),
                "skip this step, or lower the learning rate or loss scale");
  }
  return true;
}

template <typename Enough>
void Engine::drive(Enough enough, std::optional<Clock::time_point> deadline) noexcept {
  const base::FloatMode float_mode;
  try {
    // While nobody drove, the caller was busy: that counts as waiting for a moment only.
    if (looked_ != Clock::time_point{}) looked_ = std::max(looked_, Clock::now() - kAway);
    auto nap = kShortestNap;
    while (!enough()) {
      if (failed_.load()) return;
      if (pass()) {
        stalled_ = {};
        looked_ = {};
        nap = kShortestNap;
        continue;
      }
      if (enough()) return;
      const auto now = Clock::now();
      if (looked_ != Clock::time_point{}) stalled_ += now - looked_;
      looked_ = now;
      if (deadline && now >= *deadline) return;
      if (stalled_ >= options_.timeout) throw timeout_error();
      auto until = now + (options_.timeout - stalled_);
      if (deadline) until = std::min(until, *deadline);
      if (awaits_device()) {
        until = std::min(until, now + nap);
        nap = std::min(2 * nap, kLongestNap);
      } else if (!endpoint_) {
        return;
      }
      if (endpoint_) {
        endpoint_->wait(until);
      } else {
        std::this_thread::sleep_until(until);
      }
    }
  } catch (...) {
    fail(std::current_exception());
  }
}

void Engine::drive_to_failure() noexcept {
  drive([] { return false; }, std::nullopt);
}

bool Engine::pass() {
  if (abort_asked_.load(std::memory_order_relaxed)) {
    throw Error(ErrorCode::peer_lost, fmt::format("rank {} gave up its communicator", rank()),
                "find out why that rank gave up, and make a new communicator", rank());
  }
  bool moved = has_submissions_.load() && take_submissions();
  if (endpoint_) {
    moved = endpoint_->progress() || moved;
    moved = pump() || moved;
  }
  retire_finished();
  return moved;
}

bool Engine::take_submissions() {
  const std::size_t before = active_.size();
  {
    const std::lock_guard lock(mutex_);
    for (auto& operation : submitted_) active_.push_back(std::move(operation));
    submitted_.clear();
    has_submissions_.store(false);
  }
  if (before == 0) {
    stalled_ = {};
    looked_ = {};
  }
  in_flight_.store(active_.size());
  const wire::Header prototype{.communicator = options_.id, .sender = static_cast<std::uint32_t>(rank())};
  for (std::size_t i = before; i < active_.size(); ++i) active_[i]->start(prototype);
  return active_.size() > before;
}

bool Engine::pump() {
  bool moved = false;
  std::fill(receive_blocked_.begin(), receive_blocked_.end(), 0);
  std::fill(send_blocked_.begin(), send_blocked_.end(), 0);
  for (const auto& operation : active_) {
    for (Part& part : operation->parts) {
      for (int peer = 0; peer < world_size(); ++peer) {
        if (peer == rank()) continue;
        const auto p = static_cast<std::size_t>(peer);
        if (receive_blocked_[p] == 0) {
          moved = part.executor.pump_receives(peer, channels_[p]) || moved;
          receive_blocked_[p] = part.executor.receives_done(peer) ? 0 : 1;
        }
        if (send_blocked_[p] == 0) {
          moved = part.executor.pump_sends(peer, channels_[p]) || moved;
          send_blocked_[p] = part.executor.sends_posted(peer) ? 0 : 1;
        }
      }
    }
  }
  return moved;
}

void Engine::retire_finished() {
  std::uint64_t retired = 0;
  for (auto& operation : active_) {
    if (!operation->finish()) continue;
    {
      const std::lock_guard lock(mutex_);
      traffic_.wire_bytes_sent += operation->wire_bytes;
      ++traffic_.operations;
      operation->completed.fetch_add(1);
    }
    operation.reset();
    ++retired;
  }
  if (retired == 0) return;
  std::erase(active_, nullptr);
  in_flight_.store(active_.size());
  changed_.notify_all();
}

/// Not whether a device is at work: what it has finished since the pass looked at it is done too late for
/// that pass, and nothing would tell of it.
bool Engine::awaits_device() noexcept {
  return std::count_if(active_.begin(), active_.end(),
                       [](const auto& operation) { return operation->awaits_device(); }) > 0;
}

void Engine::start_progress_thread() {
  const std::lock_guard lock(mutex_);
  if (progress_thread_.joinable() || !endpoint_) return;
  endpoint_->allow_background();
  progress_thread_ = base::start_background_thread("a progress thread", [this] { run_progress_thread(); });
}

void Engine::run_progress_thread() {
  compress::UseDevice::leave_current_on_this_thread();
  std::unique_lock lock(mutex_);
  while (!stopping_.load()) {
    if (failed_.load() || driving_ || (!has_submissions_.load() && in_flight_.load() == 0)) {
      changed_.wait(lock);
      continue;
    }
    driving_ = true;
    lock.unlock();
    drive([this] { return stopping_.load() || (in_flight_.load() == 0 && !has_submissions_.load()); },
          std::nullopt);
    lock.lock();
    driving_ = false;
    changed_.notify_all();
  }
}

Traffic Engine::traffic() const {
  const std::lock_guard lock(mutex_);
  return traffic_;
}

std::uint32_t Engine::id_of_split(std::uint32_t color) {
  const std::lock_guard lock(mutex_);
  return split_id(options_.id, splits_++, color);
}

std::string Engine::transport_to(int peer) const {
  if (peer < 0 || peer >= world_size() || peer == rank()) {
    throw Error(ErrorCode::invalid_argument, fmt::format("no link from rank {} to rank {}", rank(), peer),
                "name another rank of this communicator");
  }
  return channels_[static_cast<std::size_t>(peer)].link->kind();
}

}  // namespace gradwire::runtime
