#include "collectives/replay_trace.hpp"

#include <map>
#include <set>
#include <sstream>
#include <tuple>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "collectives/program.hpp"
#include "collectives/resolve.hpp"
#include "tests/support/every_algorithm.hpp"

// The traces of all ranks, replayed on queues of any length.

namespace gradwire::collectives {
namespace {

using Name = std::tuple<int, int, int>;  // source, destination, tag

struct Line {
  std::string action;
  std::vector<long long> numbers;
};

std::vector<Line> parse(const std::string& trace, int rank) {
  std::vector<Line> lines;
  std::istringstream in(trace);
  for (std::string text; std::getline(in, text);) {
    std::istringstream words(text);
    int speaker = -1;
    Line line;
    words >> speaker >> line.action;
    EXPECT_EQ(speaker, rank);
    for (long long number = 0; words >> number;) line.numbers.push_back(number);
    lines.push_back(std::move(line));
  }
  return lines;
}

class Replay {
 public:
  Replay(const Resolved& resolved, const compress::Codec& codec, double flops) {
    const int ranks = resolved.schedule.ranks;
    for (int rank = 0; rank < ranks; ++rank) {
      traces_.push_back(
          parse(replay_trace(resolved.schedule, resolved.layout, codec, {}, flops, rank), rank));
    }
    next_.resize(traces_.size());
  }

  void run() {
    for (bool moved = true; moved;) {
      moved = false;
      for (int rank = 0; rank < static_cast<int>(traces_.size()); ++rank) {
        while (step(rank)) moved = true;
      }
    }
    for (std::size_t rank = 0; rank < traces_.size(); ++rank) EXPECT_EQ(next_[rank], traces_[rank].size());
    EXPECT_EQ(sent_.size(), posted_.size());
    EXPECT_EQ(waited_.size(), posted_.size());
    for (const auto& [name, bytes] : sent_) {
      ASSERT_TRUE(posted_.contains(name));
      EXPECT_EQ(posted_.at(name), bytes);
    }
  }

  [[nodiscard]] std::uint64_t bytes_from(int rank) const {
    std::uint64_t bytes = 0;
    for (const auto& [name, size] : sent_) {
      if (std::get<0>(name) == rank) bytes += static_cast<std::uint64_t>(size);
    }
    return bytes;
  }
  [[nodiscard]] long long computed() const { return computed_; }

 private:
  bool step(int rank) {
    const auto r = static_cast<std::size_t>(rank);
    if (next_[r] == traces_[r].size()) return false;
    const auto& [action, numbers] = traces_[r][next_[r]];
    if (action == "isend") {
      const bool is_new = sent_.emplace(Name(rank, numbers[0], numbers[1]), numbers[2]).second;
      EXPECT_TRUE(is_new);
    } else if (action == "irecv") {
      const bool is_new = posted_.emplace(Name(numbers[0], rank, numbers[1]), numbers[2]).second;
      EXPECT_TRUE(is_new);
    } else if (action == "wait") {
      const Name name(numbers[0], numbers[1], numbers[2]);
      EXPECT_EQ(numbers[1], rank);
      EXPECT_TRUE(posted_.contains(name));
      if (!sent_.contains(name)) return false;
      EXPECT_TRUE(waited_.insert(name).second);
    } else if (action == "compute") {
      computed_ += numbers[0];
    } else {
      EXPECT_THAT(action, ::testing::AnyOf("init", "waitall", "finalize"));
      EXPECT_EQ(action == "finalize", next_[r] + 1 == traces_[r].size());
    }
    ++next_[r];
    return true;
  }

  std::vector<std::vector<Line>> traces_;
  std::vector<std::size_t> next_;
  std::map<Name, long long> sent_;
  std::map<Name, long long> posted_;
  std::set<Name> waited_;
  long long computed_ = 0;
};

TEST(ReplayTrace, MovesWhatTheScheduleMovesWithoutADeadlock) {
  for (const char* name : {"none", "onebit"}) {
    const auto codec = compress::make_codec(name);
    constexpr std::size_t kCounts[] = {200'000};
    for (const Algorithm algorithm : all_algorithms()) {
      for (const int ranks : {1, 2, 3, 7, 8}) {
        SCOPED_TRACE(::testing::Message() << to_string(algorithm) << " of " << ranks << ", " << name);
        const Resolved resolved = resolve(Collective::allreduce, to_string(algorithm), *codec, kCounts, ranks,
                                          0, ragged_hosts(ranks));
        Replay replay(resolved, *codec, 1e9);
        replay.run();
        for (int rank = 0; rank < ranks; ++rank) {
          EXPECT_EQ(replay.bytes_from(rank),
                    compile(resolved.schedule, resolved.layout, *codec, rank).sent.wire_bytes());
        }
        EXPECT_GT(replay.computed(), 0);
      }
    }
  }
}

// Nothing in the first shot waits for anything: all of it leaves before a rank waits for the first time.
TEST(ReplayTrace, SendsWhatItCanBeforeItWaits) {
  const auto codec = compress::make_codec("none");
  constexpr std::size_t kCounts[] = {8 * 1000};
  const Resolved resolved = resolve(Collective::allreduce, "two-shot", *codec, kCounts, 8);
  for (int rank = 0; rank < 8; ++rank) {
    int sends = 0;
    for (const Line& line :
         parse(replay_trace(resolved.schedule, resolved.layout, *codec, {}, 1e9, rank), rank)) {
      if (line.action == "wait") break;
      sends += line.action == "isend" ? 1 : 0;
    }
    EXPECT_EQ(sends, 7);
  }
}

}  // namespace
}  // namespace gradwire::collectives
