#include <fmt/format.h>

#include <charconv>
#include <new>
#include <thread>
#include <utility>

#include "gradwire/error.hpp"
#include "runtime/engine.hpp"

// How a communicator ends: what it tells its peers, what it learns from them, and what its callers are told.

namespace gradwire::runtime {
namespace {

using std::chrono::milliseconds;

/// Ranks that are alive answer at once; the one that everybody waits for may not.
constexpr milliseconds kAnswerPatience{500};
constexpr milliseconds kAnswerInterval{20};

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
  const bool is_mismatch = cause.code() == ErrorCode::order_mismatch;
  if (is_timeout || is_mismatch) publish_position();
  Error learned = endpoint_->abort(cause);
  // What this rank found out itself says more than what peers say of it, unless one of them died.
  if (cause.code() == ErrorCode::peer_lost || learned.code() == ErrorCode::peer_lost) return learned;
  if (is_mismatch) return explain_mismatch(cause);
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

Engine::Position Engine::own_position() const {
  const std::lock_guard lock(mutex_);
  return {next_number_, order_hash_, active_.empty() ? "nothing" : active_.front()->name()};
}

/// For the others' messages.
void Engine::publish_position() {
  const Position own = own_position();
  try {
    options_.store->set(position_key(rank()),
                        fmt::format("{} {} {}", own.submitted, own.order_hash, own.waiting_for));
  } catch (const Error&) {
    // Rank 0 may be gone, and its store with it: then the others' messages lack this rank.
  }
}

std::optional<Engine::Position> Engine::parse_position(const std::string& text) {
  Position position;
  const char* end = text.data() + text.size();
  const auto number = std::from_chars(text.data(), end, position.submitted);
  if (number.ec != std::errc{} || number.ptr == end) return std::nullopt;
  const auto hash = std::from_chars(number.ptr + 1, end, position.order_hash);
  if (hash.ec != std::errc{} || hash.ptr == end) return std::nullopt;
  position.waiting_for.assign(hash.ptr + 1, end);
  return position;
}

/// All ranks' positions, in rounds: who answers is noted before the wait for who does not, in which rank 0
/// and its store may go.
std::vector<std::optional<Engine::Position>> Engine::collect_positions() const {
  std::vector<std::optional<Position>> positions(static_cast<std::size_t>(world_size()));
  positions[static_cast<std::size_t>(rank())] = own_position();
  const auto deadline = Clock::now() + kAnswerPatience;
  try {
    while (true) {
      bool all = true;
      for (int peer = 0; peer < world_size(); ++peer) {
        auto& position = positions[static_cast<std::size_t>(peer)];
        if (position) continue;
        if (const auto text = options_.store->get(position_key(peer), milliseconds(0))) {
          position = parse_position(*text);
        }
        all = all && position;
      }
      if (all || Clock::now() >= deadline) break;
      std::this_thread::sleep_for(kAnswerInterval);
    }
  } catch (const Error&) {
    // No store any more: what is known has to do.
  }
  return positions;
}

Error Engine::explain_mismatch(const Error& cause) const {
  const auto positions = collect_positions();
  const auto& own = *positions[static_cast<std::size_t>(rank())];
  for (int peer = 0; peer < world_size(); ++peer) {
    const auto& theirs = positions[static_cast<std::size_t>(peer)];
    if (!theirs || theirs->order_hash == own.order_hash) continue;
    return {
        ErrorCode::order_mismatch,
        fmt::format("ranks submitted different operations: rank {} (this one) waits for {}, rank {} for {}",
                    rank(), own.waiting_for, peer, theirs->waiting_for),
        "submit the same operations in the same order on every rank; a tag for each tells them apart", peer};
  }
  return cause;
}

Error Engine::explain_timeout(int first) const {
  const auto positions = collect_positions();
  const auto& own = *positions[static_cast<std::size_t>(rank())];
  std::string list;
  std::vector<int> silent;
  std::vector<int> behind;
  for (int peer = 0; peer < world_size(); ++peer) {
    const auto& theirs = positions[static_cast<std::size_t>(peer)];
    list += fmt::format("{}rank {}{}: {}", peer == 0 ? "" : ", ", peer, peer == rank() ? " (this one)" : "",
                        theirs ? std::to_string(theirs->submitted) : "no answer");
    if (!theirs) {
      silent.push_back(peer);
    } else if (theirs->submitted < own.submitted) {
      behind.push_back(peer);
    } else if (theirs->submitted == own.submitted && theirs->order_hash != own.order_hash) {
      // As many operations, but others: nothing needed to cross for that to show.
      return {
          ErrorCode::order_mismatch,
          fmt::format("ranks submitted different operations: rank {} (this one) waits for {}, rank {} for {}",
                      rank(), own.waiting_for, peer, theirs->waiting_for),
          "submit the same operations in the same order on every rank; a tag for each tells them apart",
          peer};
    }
  }
  const std::vector<int>& suspects = behind.empty() ? silent : behind;
  return {
      ErrorCode::timeout,
      fmt::format("{} for {:.1f} s, this rank waiting for {}; operations submitted by each rank: {}",
                  first == rank() ? "no progress" : fmt::format("rank {} gave up after no progress", first),
                  std::chrono::duration<double>(options_.timeout).count(), own.waiting_for, list),
      "look at the rank that submitted fewest or did not answer: it hangs, is cut off, or went another way",
      suspects.size() == 1 ? suspects.front() : first};
}

}  // namespace gradwire::runtime
