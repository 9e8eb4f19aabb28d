#include <fmt/format.h>

#include <chrono>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gradwire/error.hpp"
#include "runtime/engine.hpp"
#include "transport/mpi/mpi_transport.hpp"

// How a communicator ends: what it tells its peers, what it learns from them, and what its callers are told.

namespace gradwire::runtime {

void Engine::abort() noexcept {
  std::unique_lock lock(mutex_);
  abort_asked_.store(true);
  while (!failed_.load()) {
    if (driving_) {
      if (endpoint_) endpoint_->wake();
      changed_.wait(lock);
      continue;
    }
    driving_ = true;
    lock.unlock();
    drive_to_failure();
    lock.lock();
    driving_ = false;
  }
  changed_.notify_all();
}

void Engine::fail(const std::exception_ptr& thrown) noexcept {
  transport::leave_mpi_unfinished();
  std::optional<Error> reported;
  try {
    reported = end_with(to_error(thrown));
  } catch (...) {
    // No memory even for the message: throw_failure() makes do without.
  }
  for (const auto& operation : active_) operation->abandon();
  const std::lock_guard lock(mutex_);
  failure_ = std::move(reported);
  failed_.store(true);
  active_.clear();
  submitted_.clear();
  has_submissions_.store(false);
  in_flight_.store(0);
  changed_.notify_all();
}

Error Engine::to_error(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return {ErrorCode::system, "out of memory", "free memory, then make a new communicator"};
  } catch (const std::exception& error) {
    return {ErrorCode::system, error.what(), "make a new communicator, and report this"};
  }
}

Error Engine::end_with(const Error& cause) {
  if (!endpoint_) return cause;
  // First of all the peers: what comes after takes time.
  Error learned = endpoint_->abort(cause);
  // What this rank found out itself says more than what peers say of it, unless one of them died.
  if (cause.code() == ErrorCode::peer_lost || learned.code() == ErrorCode::peer_lost) return learned;
  try {
    if (cause.code() == ErrorCode::order_mismatch) return explain_mismatch(cause);
    if (cause.code() == ErrorCode::timeout) return explain_timeout(cause.peer().value_or(rank()));
  } catch (const std::exception&) {
    // No memory or no thread for an explanation: the cause has to do.
  }
  return cause;
}

void Engine::throw_failure() const {
  if (failure_) throw Error(*failure_);
  if (failed_.load())
    throw Error(ErrorCode::system, "out of memory", "free memory, then make a new communicator");
}

Error Engine::timeout_error() const {
  return {ErrorCode::timeout,
          fmt::format("no progress for {:.1f} s", std::chrono::duration<double>(options_.timeout).count()),
          "see which rank is behind", rank()};
}

Positions Engine::exchange() const {
  Position own;
  {
    const std::lock_guard lock(mutex_);
    own = {next_number_, order_hash_, active_.empty() ? "nothing" : active_.front()->name()};
  }
  const std::string prefix = fmt::format("gradwire/{}/{}/position/", options_.job, options_.id);
  return exchange_positions(options_.store, prefix, rank(), world_size(), own);
}

std::optional<Error> Engine::disagreement(const Positions& positions, int peer) const {
  const auto& own = positions.ranks[static_cast<std::size_t>(rank())];
  const auto& theirs = positions.ranks[static_cast<std::size_t>(peer)];
  if (!theirs || theirs->submitted != own->submitted || theirs->order_hash == own->order_hash) {
    return std::nullopt;
  }
  return Error(
      ErrorCode::order_mismatch,
      fmt::format("ranks submitted different operations: rank {} (this one) waits for {}, rank {} for {}",
                  rank(), own->waiting_for, peer, theirs->waiting_for),
      "submit the same operations in the same order on every rank; a tag for each tells them apart", peer);
}

Error Engine::explain_mismatch(const Error& cause) const {
  const Positions positions = exchange();
  if (cause.peer()) {
    if (auto found = disagreement(positions, *cause.peer())) return *std::move(found);
  }
  for (int peer = 0; peer < world_size(); ++peer) {
    if (auto found = disagreement(positions, peer)) return *std::move(found);
  }
  return cause;
}

Error Engine::explain_timeout(int first) const {
  const Positions positions = exchange();
  const Position& own = *positions.ranks[static_cast<std::size_t>(rank())];
  std::string list;
  std::vector<int> silent;
  std::vector<int> behind;
  for (int peer = 0; peer < world_size(); ++peer) {
    // As many operations, but others: nothing needed to cross for that to show.
    if (auto found = disagreement(positions, peer)) return *std::move(found);
    const auto& theirs = positions.ranks[static_cast<std::size_t>(peer)];
    list += fmt::format("{}rank {}{}: {}", peer == 0 ? "" : ", ", peer, peer == rank() ? " (this one)" : "",
                        theirs ? std::to_string(theirs->submitted) : "no answer");
    if (!theirs) {
      silent.push_back(peer);
    } else if (theirs->submitted < own.submitted) {
      behind.push_back(peer);
    }
  }
  const std::vector<int>& suspects = behind.empty() ? silent : behind;
  const bool store_hangs = positions.store_hangs;
  return {
      ErrorCode::timeout,
      fmt::format("{} for {:.1f} s, this rank waiting for {}; operations submitted by each rank: {}{}",
                  first == rank() ? "no progress" : fmt::format("rank {} gave up after no progress", first),
                  std::chrono::duration<double>(options_.timeout).count(), own.waiting_for, list,
                  store_hangs ? " (the store that the ranks answer in hangs)" : ""),
      store_hangs
          ? "look at the rank that serves the store first, rank 0 unless the store is your own: it hangs or "
            "is cut off"
          : "look at the rank that submitted fewest or did not answer: it hangs, is cut off, or went another "
            "way",
      suspects.size() == 1 ? suspects.front() : first};
}

}  // namespace gradwire::runtime
