#include "cli/bench_board.hpp"

#include <fmt/format.h>

#include "gradwire/error.hpp"

namespace gradwire::cli {

BenchBoard::BenchBoard(std::shared_ptr<Store> store, int rank, int ranks, std::chrono::milliseconds timeout)
    : store_(std::move(store)), rank_(rank), ranks_(ranks), timeout_(timeout) {}

std::vector<std::string> BenchBoard::gather(const std::string& text) {
  const unsigned number = count_++;
  const auto key = [&](int rank) { return fmt::format("bench/{}/{}", number, rank); };
  if (rank_ != 0) {
    store_->set(key(rank_), text);
    return {};
  }
  std::vector<std::string> out{text};
  for (int rank = 1; rank < ranks_; ++rank) out.push_back(wait_for(key(rank), rank));
  return out;
}

std::string BenchBoard::announce(const std::string& text) {
  const std::string key = fmt::format("bench/{}", count_++);
  if (rank_ != 0) return wait_for(key, 0);
  if (ranks_ > 1) store_->set(key, text);
  return text;
}

std::string BenchBoard::wait_for(const std::string& key, int from) {
  auto value = store_->get(key, timeout_);
  if (!value) {
    throw Error(ErrorCode::timeout, fmt::format("rank {} has not come to this point of the benchmark", from),
                "look at that rank's own output", from);
  }
  return *std::move(value);
}

}  // namespace gradwire::cli
