#include "gradwire/inspect.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/float_mode.hpp"
#include "base/host_port.hpp"
#include "collectives/layout.hpp"
#include "collectives/oracle.hpp"
#include "collectives/resolve.hpp"
#include "collectives/schedule.hpp"
#include "compress/codec.hpp"
#include "gradwire/error.hpp"

namespace gradwire::inspect {
namespace {

/// Far above any tensor, and far below where sums of bytes overflow.
constexpr std::size_t kMostElements = std::size_t{1} << 48U;

Step describe_step(const collectives::Step& step) {
  return {.verb = std::string(collectives::to_string(step.verb)),
          .stage = std::string(collectives::to_string(step.stage)),
          .chunk_begin = step.chunk_begin,
          .chunk_end = step.chunk_end,
          .peer = step.peer,
          .slot = step.slot,
          .layer = step.layer,
          .round = step.round};
}

/// Bytes of each chunk as a frame of each kind.
struct ChunkBytes {
  std::vector<std::size_t> encoded;
  std::vector<std::size_t> plain;  ///< of float32
};

ChunkBytes bytes_of(const collectives::Layout& layout) {
  ChunkBytes bytes{.encoded = collectives::chunk_payloads(layout), .plain = {}};
  bytes.plain.resize(bytes.encoded.size(), 0);
  for (const auto& segment : layout.segments) bytes.plain[segment.chunk] += sizeof(float) * segment.count;
  return bytes;
}

RankSchedule describe_rank(const collectives::Schedule& schedule, std::size_t number,
                           const ChunkBytes& chunks) {
  const auto& steps = schedule.steps[number];
  RankSchedule rank;
  rank.steps.reserve(steps.size());
  for (const auto& step : steps) {
    rank.steps.push_back(describe_step(step));
    if (step.verb != collectives::Verb::send) continue;
    ++rank.sends;
    const auto& sizes = step.stage == collectives::Stage::local ? chunks.plain : chunks.encoded;
    std::uint64_t bytes = 0;
    for (int chunk = step.chunk_begin; chunk < step.chunk_end; ++chunk) {
      bytes += sizes[static_cast<std::size_t>(chunk)];
    }
    rank.sent_bytes += bytes;
    if (collectives::on_one_host(schedule.hosts, static_cast<int>(number), step.peer)) {
      rank.inside_bytes += bytes;
    }
  }
  return rank;
}

void check_tensors(const std::vector<std::vector<float>>& inputs,
                   const std::vector<std::vector<float>>& residuals) {
  const auto refuse = [](const std::string& what) {
    throw Error(ErrorCode::invalid_argument, what,
                "pass one tensor per rank, all of one size, and a residual of that size (or none) for each");
  };
  if (inputs.empty()) refuse("an allreduce of no ranks was asked for");
  if (!residuals.empty() && residuals.size() != inputs.size()) {
    refuse(fmt::format("there are {} residuals for {} ranks", residuals.size(), inputs.size()));
  }
  for (std::size_t rank = 0; rank < inputs.size(); ++rank) {
    if (inputs[rank].size() != inputs.front().size()) {
      refuse(fmt::format("rank {}'s tensor has {} elements and rank 0's {}", rank, inputs[rank].size(),
                         inputs.front().size()));
    }
    if (!residuals.empty() && !residuals[rank].empty() && residuals[rank].size() != inputs[rank].size()) {
      refuse(fmt::format("rank {}'s residual has {} elements for a tensor of {}", rank,
                         residuals[rank].size(), inputs[rank].size()));
    }
  }
}

}  // namespace

Description describe(const std::string& collective, const std::string& algorithm, const std::string& codec,
                     int ranks, std::size_t count, const std::vector<int>& hosts) {
  const auto kind = collectives::parse_collective(collective);
  const auto parsed = compress::make_codec(codec);
  if (count > kMostElements) {
    throw Error(ErrorCode::invalid_argument, fmt::format("a tensor of {} elements was asked for", count),
                fmt::format("use at most {}", kMostElements));
  }
  const std::array<std::size_t, 1> counts{kind == collectives::Collective::barrier ? 1 : count};
  const auto resolved = collectives::resolve_algorithm(kind, algorithm, *parsed, counts, ranks, hosts);
  const auto schedule = collectives::make_schedule(kind, resolved, ranks, 0, hosts);
  collectives::check_blocks(kind, resolved, *parsed, counts, hosts);
  // Bytes don't depend on how chunks are cut into segments.
  const auto layout = collectives::make_layout(counts, *parsed, schedule.chunk_count,
                                               std::numeric_limits<std::size_t>::max());
  const auto chunks = bytes_of(layout);

  Description description{.algorithm = std::string(collectives::algorithm_name(kind, resolved)),
                          .codec = parsed->spec(),
                          .chunk_count = schedule.chunk_count,
                          .layers = schedule.layers,
                          .rounds = 0,
                          .ranks = {}};
  for (std::size_t rank = 0; rank < schedule.steps.size(); ++rank) {
    for (const auto& step : schedule.steps[rank]) {
      if (step.peer >= 0) description.rounds = std::max(description.rounds, step.round + 1);
    }
    description.ranks.push_back(describe_rank(schedule, rank, chunks));
  }
  return description;
}

std::vector<float> oracle_allreduce(const std::string& algorithm, const std::string& codec, bool average,
                                    const std::vector<std::vector<float>>& inputs,
                                    std::vector<std::vector<float>>& residuals,
                                    const std::vector<int>& hosts) {
  check_tensors(inputs, residuals);
  const base::FloatMode float_mode;
  const auto reference = compress::make_reference_codec(codec);
  const std::array<std::size_t, 1> counts{inputs.front().size()};
  const auto resolved = collectives::resolve(collectives::Collective::allreduce, algorithm, *reference,
                                             counts, static_cast<int>(inputs.size()), 0, hosts);
  std::vector<collectives::RankData> data(inputs.size());
  for (std::size_t rank = 0; rank < inputs.size(); ++rank) {
    data[rank].tensors.push_back(inputs[rank]);
    data[rank].residuals.push_back(residuals.empty() ? std::vector<float>{} : residuals[rank]);
  }
  collectives::run_oracle(resolved.schedule, resolved.layout, *reference, {.average = average}, data);

  if (std::ranges::any_of(data, [](const auto& rank) { return !rank.finite; })) {
    data.front().tensors.front().assign(counts.front(), std::numeric_limits<float>::quiet_NaN());
    return std::move(data.front().tensors.front());
  }
  for (std::size_t rank = 0; rank < residuals.size(); ++rank)
    residuals[rank] = std::move(data[rank].residuals.front());
  return std::move(data.front().tensors.front());
}

std::vector<std::string> algorithms() {
  std::vector<std::string> names;
  for (const auto algorithm : collectives::all_algorithms())
    names.emplace_back(collectives::to_string(algorithm));
  return names;
}

std::vector<std::string> codecs() { return compress::codec_names(); }

std::string describe_codecs() { return compress::describe_codecs(); }

Address parse_address(const std::string& text) {
  std::string why;
  auto place = base::parse_host_port(text, why);
  if (!place) {
    throw Error(ErrorCode::invalid_argument, fmt::format("the address '{}' {}", text, why),
                "write it as host:port or [::1]:port");
  }
  return {.host = std::move(place->host), .port = place->port};
}

}  // namespace gradwire::inspect
