#include <fmt/format.h>

#include <charconv>
#include <new>
#include <utility>

#include "gradwire/error.hpp"
#include "runtime/engine.hpp"

// How a communicator ends: what it tells its peers, what it learns from them, and what its callers are told.

namespace gradwire::runtime {
namespace {

using std::chrono::milliseconds;

/// Ranks that are alive answer at once; the one that everybody waits for may not.
constexpr milliseconds kAnswerPatience{500};

}  // namespace

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
  std::optional<Error> reported;
  try {
    reported = end_with(to_error(thrown));
  } catch (...) {
    // No memory even for the message: throw_failure() makes do without.
  }
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
  const bool is_timeout = cause.code() == ErrorCode::timeout;
  if (is_timeout) publish_position();
  const Error learned = endpoint_->abort(cause);
  // What this rank found out itself says more than what peers say of it, unless one of them died.
  if (cause.code() == ErrorCode::peer_lost || learned.code() == ErrorCode::peer_lost) return learned;
  return is_timeout ? explain_timeout(cause.peer().value_or(rank())) : cause;
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

std::string Engine::position_key(int rank) const {
  return fmt::format("gradwire/{}/{}/position/{}", options_.job, options_.id, rank);
}

/// How far this rank has come, for the others' messages: the operations it submitted, and their hash.
void Engine::publish_position() {
  std::pair<std::uint32_t, std::uint64_t> own;
  {
    const std::lock_guard lock(mutex_);
    own = {next_number_, order_hash_};
  }
  try {
    options_.store->set(position_key(rank()), fmt::format("{} {}", own.first, own.second));
  } catch (const Error&) {
    // Rank 0 may be gone, and its store with it: then the others' messages lack this rank.
  }
}

std::optional<Engine::Position> Engine::position_of(int peer, Clock::time_point deadline) const {
  const auto left = std::max(milliseconds(0), std::chrono::ceil<milliseconds>(deadline - Clock::now()));
  try {
    const auto text = options_.store->get(position_key(peer), left);
    if (!text) return std::nullopt;
    Position position;
    const char* end = text->data() + text->size();
    const auto number = std::from_chars(text->data(), end, position.submitted);
    if (number.ec != std::errc{} || number.ptr == end) return std::nullopt;
    const auto hash = std::from_chars(number.ptr + 1, end, position.order_hash);
    if (hash.ec != std::errc{} || hash.ptr != end) return std::nullopt;
    return position;
  } catch (const Error&) {
    return std::nullopt;
  }
}

Error Engine::explain_timeout(int first) const {
  Position own;
  {
    const std::lock_guard lock(mutex_);
    own = {next_number_, order_hash_};
  }
  const auto deadline = Clock::now() + kAnswerPatience;
  std::string positions = fmt::format("rank {} (this one): {}", rank(), own.submitted);
  for (int peer = 0; peer < world_size(); ++peer) {
    if (peer == rank()) continue;
    const auto theirs = position_of(peer, deadline);
    positions += theirs ? fmt::format(", rank {}: {}", peer, theirs->submitted)
                        : fmt::format(", rank {}: no answer", peer);
    // As many operations, but others: nothing needed to cross for that to show.
    if (theirs && theirs->submitted == own.submitted && theirs->order_hash != own.order_hash) {
      return {ErrorCode::order_mismatch,
              fmt::format(
                  "ranks {} and {} both submitted {} operations, but not the same ones; here the last was {}",
                  rank(), peer, own.submitted, waiting_for()),
              "submit the same operations in the same order on every rank", peer};
    }
  }
  const std::string who =
      first == rank() ? "no progress" : fmt::format("rank {} gave up after no progress", first);
  return {
      ErrorCode::timeout,
      fmt::format("{} for {:.1f} s, this rank waiting for {}; operations submitted by each rank: {}", who,
                  std::chrono::duration<double>(options_.timeout).count(), waiting_for(), positions),
      "look at the rank that submitted fewest or did not answer: it hangs, is cut off, or went another way",
      first};
}

std::string Engine::waiting_for() const {
  if (active_.empty()) return "nothing";
  return fmt::format("operation {} ({:.80})", active_.front()->number, active_.front()->description);
}

}  // namespace gradwire::runtime
