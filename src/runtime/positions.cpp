#include "runtime/positions.hpp"

#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "base/background_thread.hpp"

namespace gradwire::runtime {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// Ranks that are alive answer at once; the one that everybody waits for may not.
constexpr milliseconds kAnswerPatience{1000};
constexpr milliseconds kAnswerInterval{20};
/// For the whole exchange, when a call of the store does not return.
constexpr milliseconds kStorePatience{2 * kAnswerPatience};

/// What the thread that asks has found, and the one that waits for it reads.
struct Answers {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::optional<Position>> ranks;
  bool ended = false;
};

std::string key_of(const std::string& prefix, int rank) { return fmt::format("{}{}", prefix, rank); }

std::string write(const Position& position) {
  return fmt::format("{} {} {}", position.submitted, position.order_hash, position.waiting_for);
}

std::optional<Position> parse(const std::string& text) {
  Position position;
  const char* end = text.data() + text.size();
  const auto number = std::from_chars(text.data(), end, position.submitted);
  if (number.ec != std::errc{} || number.ptr == end) return std::nullopt;
  const auto hash = std::from_chars(number.ptr + 1, end, position.order_hash);
  if (hash.ec != std::errc{} || hash.ptr == end) return std::nullopt;
  position.waiting_for.assign(hash.ptr + 1, end);
  return position;
}

/// In rounds: who answers is noted before the wait for who does not, in which rank 0 and its store may go.
void collect(Store& store, const std::string& prefix, Answers& answers) {
  std::vector<int> silent;
  for (int rank = 0; rank < static_cast<int>(answers.ranks.size()); ++rank) {
    if (!answers.ranks[static_cast<std::size_t>(rank)]) silent.push_back(rank);
  }
  const auto deadline = Clock::now() + kAnswerPatience;
  while (true) {
    std::erase_if(silent, [&](int rank) {
      const auto text = store.get(key_of(prefix, rank), milliseconds(0));
      auto position = text ? parse(*text) : std::nullopt;
      if (!position) return false;
      const std::lock_guard lock(answers.mutex);
      answers.ranks[static_cast<std::size_t>(rank)] = std::move(position);
      return true;
    });
    if (silent.empty() || Clock::now() >= deadline) return;
    std::this_thread::sleep_for(kAnswerInterval);
  }
}

}  // namespace

Positions exchange_positions(const std::shared_ptr<Store>& store, const std::string& prefix, int rank,
                             int world_size, const Position& own) {
  const auto answers = std::make_shared<Answers>();
  answers->ranks.resize(static_cast<std::size_t>(world_size));
  answers->ranks[static_cast<std::size_t>(rank)] = own;
  // No call of a store can be ended from outside, and whoever serves it may be the rank that hangs. So a
  // thread makes the calls that can be left behind in one; all it touches is its own.
  std::thread asking = base::start_background_thread("a thread that asks the store",
                                                     [store, prefix, answers, rank, text = write(own)] {
                                                       try {
                                                         store->set(key_of(prefix, rank), text);
                                                         collect(*store, prefix, *answers);
                                                       } catch (...) {
                                                         // Rank 0 may be gone, and its store with it: what is
                                                         // known has to do.
                                                       }
                                                       const std::lock_guard lock(answers->mutex);
                                                       answers->ended = true;
                                                       answers->changed.notify_all();
                                                     });
  std::unique_lock lock(answers->mutex);
  const bool ended = answers->changed.wait_for(lock, kStorePatience, [&] { return answers->ended; });
  lock.unlock();
  if (ended) {
    asking.join();
  } else {
    asking.detach();
  }
  lock.lock();
  return {answers->ranks, !ended};
}

}  // namespace gradwire::runtime
