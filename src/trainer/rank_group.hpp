#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "gradwire/communicator.hpp"
#include "gradwire/error.hpp"

namespace gradwire::trainer {

/// Told of what a rank survived, or waits for, in a sentence.
using NoticeCallback = std::function<void(const std::string&)>;

/// The ranks of a run, and which of them this is. Losing one is the Error that it is everywhere, until
/// outlive_others(): then it leaves this rank alone for good, and what all ranks would do together is left
/// undone.
class RankGroup {
 public:
  explicit RankGroup(Communicator comm);
  /// Rank `rank` of `size` that run already; it is alone from the beginning.
  RankGroup(int rank, int size);

  [[nodiscard]] int rank() const noexcept { return rank_; }
  [[nodiscard]] int size() const noexcept { return size_; }
  [[nodiscard]] bool is_alone() const noexcept { return !comm_; }
  /// For what needs all ranks. Not when alone.
  [[nodiscard]] Communicator& comm() { return comm_.value(); }

  /// From now on, `notice` being told when it happens.
  void outlive_others(NoticeCallback notice);
  /// Does what is collective and returns true; false when alone, or left alone by it.
  bool together(const std::function<void(Communicator&)>& collective);
  /// Goes on alone, and leaves the others alone, too.
  void leave() noexcept;

  /// The mean over ranks, in float32; alone, the own value.
  [[nodiscard]] double mean(double value);
  /// Each rank's number, by rank; alone, the own one.
  [[nodiscard]] std::vector<std::uint64_t> values(std::uint64_t value);

 private:
  std::optional<Communicator> comm_;  ///< none when alone
  int rank_;
  int size_;
  std::optional<NoticeCallback> notice_;
};

}  // namespace gradwire::trainer
