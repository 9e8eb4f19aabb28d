#include <algorithm>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "collectives/resolve.hpp"
#include "collectives/symbolic.hpp"
#include "compress/codec.hpp"
#include "tests/support/quick.hpp"

// The formulas of docs/algorithms.md, written down without looking at any schedule: `bytes[k]` is the payload
// of chunk k.
namespace gradwire::collectives {
namespace {

using Bytes = std::vector<std::size_t>;

std::size_t index(int value) { return static_cast<std::size_t>(value); }
std::size_t total(const Bytes& bytes) { return std::accumulate(bytes.begin(), bytes.end(), std::size_t{0}); }

struct Share {
  std::size_t in = 0;
  std::size_t out = 0;
};

Share ring_share(const Bytes& bytes, int ranks, int rank) {
  const auto next = index((rank + 1) % ranks);
  return {.in = total(bytes) - bytes[index(rank)], .out = total(bytes) - bytes[next]};
}

Share two_shot_share(const Bytes& bytes, int ranks, int rank) {
  return {.in = total(bytes) - bytes[index(rank)], .out = index(ranks - 1) * bytes[index(rank)]};
}

/// At each level a rank sends the sums of the other half's chunks once, and the results of its own half's to
/// as many as sent to it.
Share halving_doubling_share(const Bytes& bytes, int begin, int end, int rank) {
  const int size = end - begin;
  if (size < 2) return {};
  const int middle = begin + (size + 1) / 2;
  const auto of = [&](int from, int to) {
    return std::accumulate(bytes.begin() + from, bytes.begin() + to, std::size_t{0});
  };
  const bool low = rank < middle;
  const int own = low ? middle - begin : end - middle;
  const int other = size - own;
  const int place = low ? rank - begin : rank - middle;
  const std::size_t partners = (place < other ? 1U : 0U) + (other > own && place == own / 2 ? 1U : 0U);
  Share share = low ? halving_doubling_share(bytes, begin, middle, rank)
                    : halving_doubling_share(bytes, middle, end, rank);
  share.in += low ? of(middle, end) : of(begin, middle);
  share.out += partners * (low ? of(begin, middle) : of(middle, end));
  return share;
}

Bytes sent_bytes(const Schedule& schedule, const Bytes& chunks) {
  Bytes sent;
  for (const auto& counts : count_sends(schedule)) {
    std::size_t bytes = 0;
    for (std::size_t chunk = 0; chunk < chunks.size(); ++chunk) bytes += index(counts[chunk]) * chunks[chunk];
    sent.push_back(bytes);
  }
  return sent;
}

constexpr std::size_t kCount = 33 * 256 * 7 + 100;

class Traffic : public ::testing::TestWithParam<const char*> {};

TEST_P(Traffic, OfEachRankIsWhatTheFormulaSays) {
  const auto codec = compress::make_codec(GetParam());
  const std::size_t counts[] = {kCount, 0, 77};
  for (int ranks = 1; ranks <= 33; ++ranks) {
    for (const Algorithm algorithm : {Algorithm::ring, Algorithm::two_shot, Algorithm::halving_doubling}) {
      for (const Collective collective :
           {Collective::allreduce, Collective::reduce_scatter, Collective::allgather}) {
        SCOPED_TRACE(::testing::Message()
                     << to_string(collective) << " " << to_string(algorithm) << " " << ranks);
        const Resolved resolved = resolve(collective, to_string(algorithm), *codec, counts, ranks);
        const Bytes bytes = chunk_payloads(resolved.layout);
        ASSERT_EQ(total(bytes), codec->max_payload(kCount) + codec->max_payload(77));
        const Bytes sent = sent_bytes(resolved.schedule, bytes);
        for (int rank = 0; rank < ranks; ++rank) {
          const Share share = algorithm == Algorithm::ring ? ring_share(bytes, ranks, rank)
                              : algorithm == Algorithm::two_shot
                                  ? two_shot_share(bytes, ranks, rank)
                                  : halving_doubling_share(bytes, 0, ranks, rank);
          std::size_t expected = 0;
          if (collective != Collective::allgather) expected += share.in;
          if (collective != Collective::reduce_scatter) expected += share.out;
          EXPECT_EQ(sent[index(rank)], ranks == 1 ? 0 : expected) << rank;
        }
      }
    }
  }
}

TEST_P(Traffic, OfAllRanksTogetherIsTheFloorOfPointToPoint) {
  const auto codec = compress::make_codec(GetParam());
  const std::size_t counts[] = {kCount};
  const std::size_t bytes = codec->max_payload(kCount);
  for (int ranks = 1; ranks <= 33; ++ranks) {
    const std::size_t others = index(ranks - 1);
    for (const Algorithm algorithm : all_algorithms()) {
      const Resolved resolved = resolve(Collective::allreduce, to_string(algorithm), *codec, counts, ranks);
      const Bytes sent = sent_bytes(resolved.schedule, chunk_payloads(resolved.layout));
      const std::size_t expected =
          algorithm == Algorithm::one_shot ? index(ranks) * others * bytes : 2 * others * bytes;
      EXPECT_EQ(total(sent), expected) << to_string(algorithm) << " of " << ranks;
    }
    const Resolved broadcast = resolve(Collective::broadcast, "auto", *codec, counts, ranks);
    EXPECT_EQ(total(sent_bytes(broadcast.schedule, chunk_payloads(broadcast.layout))), others * bytes);
    const Resolved barrier =
        resolve(Collective::barrier, "auto", *compress::make_codec("none"), counts, ranks);
    EXPECT_EQ(total(sent_bytes(barrier.schedule, chunk_payloads(barrier.layout))),
              2 * others * sizeof(float));
  }
}

TEST_P(Traffic, OfOneShotIsTheWholeTensorToEverybody) {
  const auto codec = compress::make_codec(GetParam());
  const std::size_t counts[] = {kCount};
  for (int ranks = 2; ranks <= 33; ++ranks) {
    const Resolved resolved = resolve(Collective::allreduce, "one-shot", *codec, counts, ranks);
    EXPECT_THAT(sent_bytes(resolved.schedule, chunk_payloads(resolved.layout)),
                ::testing::Each(index(ranks - 1) * codec->max_payload(kCount)));
  }
}

INSTANTIATE_TEST_SUITE_P(Codecs, Traffic,
                         ::testing::Values("none", "fp16", "onebit", "onebit:block=64,scale=l2"));

/// In units of N, with equal chunks.
double most_sent(Algorithm algorithm, int ranks) {
  const Schedule schedule = make_schedule(Collective::allreduce, algorithm, ranks);
  const Bytes sent = sent_bytes(schedule, Bytes(index(schedule.chunk_count), 1));
  return static_cast<double>(std::ranges::max(sent)) / schedule.chunk_count;
}

TEST(WorstRank, SendsNoMoreThanDocumented) {
  for (int ranks = 2; ranks <= 33; ++ranks) {
    SCOPED_TRACE(ranks);
    const double floor = 2.0 * (ranks - 1) / ranks;
    EXPECT_DOUBLE_EQ(most_sent(Algorithm::ring, ranks), floor);
    EXPECT_DOUBLE_EQ(most_sent(Algorithm::two_shot, ranks), floor);
    EXPECT_LE(most_sent(Algorithm::tree, ranks), 2.0);
    EXPECT_LE(most_sent(Algorithm::halving_doubling, ranks), 2.43);
    if ((ranks & (ranks - 1)) == 0) {
      EXPECT_DOUBLE_EQ(most_sent(Algorithm::halving_doubling, ranks), floor);
    }
  }
  for (const int ranks : {63, 65, 127, 129, 1000}) {
    if (quick() && ranks > 65) break;
    EXPECT_LE(most_sent(Algorithm::halving_doubling, ranks), 2.5) << ranks;
    EXPECT_LE(most_sent(Algorithm::tree, ranks), 2.0) << ranks;
  }
}

}  // namespace
}  // namespace gradwire::collectives
