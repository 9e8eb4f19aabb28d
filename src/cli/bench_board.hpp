#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "gradwire/store.hpp"

namespace gradwire::cli {

/// Where the ranks of a benchmark compare notes, beside the collectives that it measures and so independent
/// of them. All ranks make the same calls in the same order. Not thread-safe.
class BenchBoard {
 public:
  /// The store may be null for one rank alone.
  BenchBoard(std::shared_ptr<Store> store, int rank, int ranks, std::chrono::milliseconds timeout);

  /// Every rank's text, by rank, on rank 0; nothing on the others.
  std::vector<std::string> gather(const std::string& text);
  /// Rank 0's text, on every rank.
  std::string announce(const std::string& text);

 private:
  std::string wait_for(const std::string& key, int from);

  std::shared_ptr<Store> store_;
  int rank_;
  int ranks_;
  std::chrono::milliseconds timeout_;
  unsigned count_ = 0;
};

/// Raw numbers as text for a board.
template <typename Number>
std::string pack(const std::vector<Number>& numbers) {
  return {reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(Number)};
}

template <typename Number>
std::vector<Number> unpack(const std::string& text) {
  std::vector<Number> numbers(text.size() / sizeof(Number));
  text.copy(reinterpret_cast<char*>(numbers.data()), numbers.size() * sizeof(Number));
  return numbers;
}

}  // namespace gradwire::cli
