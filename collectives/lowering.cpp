#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

#include "collectives/schedule.hpp"
#include "gradwire/error.hpp"

namespace gradwire::collectives {
namespace {

struct Transfer {
  int round = 0;
  int source = 0;
  int destination = 0;
  Stage stage = Stage::partial;
  int layer = 0;
  int chunk_begin = 0;
  int chunk_end = 0;

  /// What transfers of consecutive chunks share when they are one.
  [[nodiscard]] auto route() const {
    return std::tuple(round, source % 2, source, destination, stage, layer);
  }
  [[nodiscard]] auto key() const { return std::tuple_cat(route(), std::tuple(chunk_begin)); }
};

bool has_in_phase(Collective collective) {
  return collective != Collective::allgather && collective != Collective::broadcast;
}

bool has_out_phase(Collective collective) { return collective != Collective::reduce_scatter; }

/// Those that a rank of `listed` takes part in.
std::vector<Transfer> transfers_of(const Topology& topology, Collective collective, RankRange listed) {
  std::vector<Transfer> transfers;
  int first_round = std::numeric_limits<int>::max();
  for (int chunk = 0; chunk < topology.chunk_count; ++chunk) {
    for (const ChunkTrees& trees : topology.chunks[static_cast<std::size_t>(chunk)]) {
      const auto collect = [&](const Tree& tree, Stage stage) {
        for (int rank = 0; rank < topology.ranks; ++rank) {
          const int parent = tree.parent[static_cast<std::size_t>(rank)];
          if (parent < 0) continue;
          Transfer transfer{.round = tree.round[static_cast<std::size_t>(rank)],
                            .source = rank,
                            .destination = parent,
                            .stage = stage,
                            .layer = trees.layer,
                            .chunk_begin = chunk,
                            .chunk_end = chunk + 1};
          if (stage == Stage::result) {
            std::swap(transfer.source, transfer.destination);
          } else if (on_one_host(topology.hosts, rank, parent)) {
            transfer.stage = Stage::local;
          }
          first_round = std::min(first_round, transfer.round);
          if (listed.contains(rank) || listed.contains(parent)) transfers.push_back(transfer);
        }
      };
      if (has_in_phase(collective)) collect(trees.in, Stage::partial);
      if (has_out_phase(collective)) collect(trees.out, Stage::result);
    }
  }
  for (Transfer& transfer : transfers) transfer.round -= first_round;
  std::ranges::sort(transfers, {}, &Transfer::key);
  return transfers;
}

/// Transfers of consecutive chunks that take the same way at the same time become one.
std::vector<Transfer> merge_runs(const std::vector<Transfer>& sorted) {
  std::vector<Transfer> merged;
  for (const Transfer& transfer : sorted) {
    if (!merged.empty() && merged.back().route() == transfer.route() &&
        merged.back().chunk_end == transfer.chunk_begin) {
      merged.back().chunk_end = transfer.chunk_end;
    } else {
      merged.push_back(transfer);
    }
  }
  return merged;
}

/// Writes the lists, transfer by transfer.
class Lowering {
 public:
  Lowering(const Topology& topology, Collective collective, const std::vector<Transfer>& transfers,
           RankRange listed)
      : layered_(topology.layers > 1) {
    schedule_.collective = collective;
    schedule_.ranks = topology.ranks;
    schedule_.chunk_count = topology.chunk_count;
    schedule_.layers = topology.layers;
    schedule_.chunk_cycle = topology.chunk_cycle;
    schedule_.listed = listed;
    schedule_.steps.resize(static_cast<std::size_t>(topology.ranks));
    for (const auto& layers : topology.chunks) schedule_.owner.push_back(layers.front().out.owner);
    results_to_send_.resize(schedule_.owner.size(), 0);
    partials_to_add_.resize(schedule_.owner.size(), 0);
    encoded_.resize(layered_ ? static_cast<std::size_t>(topology.layers) : schedule_.owner.size(), false);
    for (const Transfer& transfer : transfers) {
      for (int chunk = transfer.chunk_begin; chunk < transfer.chunk_end; ++chunk) {
        const auto c = static_cast<std::size_t>(chunk);
        if (transfer.stage == Stage::result) {
          results_to_send_[c] += transfer.source == schedule_.owner[c] ? 1 : 0;
        } else {
          partials_to_add_[c] += transfer.destination == schedule_.owner[c] ? 1 : 0;
        }
      }
    }
  }

  void take(const Transfer& transfer) {
    if (layered_) {
      take_layer(transfer);
    } else if (transfer.stage == Stage::result) {
      take_result(transfer);
    } else {
      take_partial(transfer);
    }
  }

  /// What follows the last transfer.
  Schedule end(int last_round) {
    if (schedule_.ranks == 1) {
      schedule_.steps.front().push_back({.verb = Verb::finish,
                                         .stage = Stage::result,
                                         .chunk_begin = 0,
                                         .chunk_end = schedule_.chunk_count});
    } else if (layered_) {
      const int end = std::min(schedule_.listed.end, schedule_.ranks);
      for (int rank = schedule_.listed.begin; rank < end; ++rank) {
        for (int layer = 0; layer < schedule_.layers; ++layer) {
          schedule_.steps[static_cast<std::size_t>(rank)].push_back(
              {.verb = layer == 0 ? Verb::assign : Verb::add,
               .stage = Stage::result,
               .chunk_begin = 0,
               .chunk_end = schedule_.chunk_count,
               .slot = layer,
               .layer = layer,
               .round = last_round});
        }
      }
    }
    return std::move(schedule_);
  }

 private:
  void append(int rank, Verb verb, const Transfer& transfer, int slot, int peer = -1) {
    append_run(rank, verb, transfer, slot, transfer.chunk_begin, transfer.chunk_end, peer);
  }

  void append_run(int rank, Verb verb, const Transfer& transfer, int slot, int begin, int end,
                  int peer = -1) {
    if (!schedule_.listed.contains(rank)) return;
    schedule_.steps[static_cast<std::size_t>(rank)].push_back({.verb = verb,
                                                               .stage = transfer.stage,
                                                               .chunk_begin = begin,
                                                               .chunk_end = end,
                                                               .peer = peer,
                                                               .slot = slot,
                                                               .layer = transfer.layer,
                                                               .round = transfer.round});
  }

  void take_partial(const Transfer& transfer) {
    append(transfer.source, Verb::encode, transfer, kPartialSlot);
    append(transfer.source, Verb::send, transfer, kPartialSlot, transfer.destination);
    append(transfer.destination, Verb::recv, transfer, kIncomingSlot, transfer.source);
    append(transfer.destination, Verb::add, transfer, kIncomingSlot);
    if (schedule_.collective != Collective::reduce_scatter) return;
    for (int chunk = transfer.chunk_begin; chunk < transfer.chunk_end; ++chunk) {
      const auto c = static_cast<std::size_t>(chunk);
      if (transfer.destination != schedule_.owner[c] || --partials_to_add_[c] != 0) continue;
      Transfer last = transfer;
      last.stage = Stage::result;
      append_run(transfer.destination, Verb::finish, last, 0, chunk, chunk + 1);
    }
  }

  void take_result(const Transfer& transfer) {
    const auto own = [&](int chunk) {
      return schedule_.owner[static_cast<std::size_t>(chunk)] == transfer.source;
    };
    for (int chunk = transfer.chunk_begin; chunk < transfer.chunk_end; ++chunk) {
      if (!own(chunk) || encoded_[static_cast<std::size_t>(chunk)]) continue;
      encoded_[static_cast<std::size_t>(chunk)] = true;
      append_run(transfer.source, Verb::encode, transfer, kResultSlot, chunk, chunk + 1);
    }
    append(transfer.source, Verb::send, transfer, kResultSlot, transfer.destination);
    for (int chunk = transfer.chunk_begin; chunk < transfer.chunk_end; ++chunk) {
      // The owner decodes its own frame last: the others are waiting for it.
      if (!own(chunk) || --results_to_send_[static_cast<std::size_t>(chunk)] != 0) continue;
      append_run(transfer.source, Verb::assign, transfer, kResultSlot, chunk, chunk + 1);
    }
    append(transfer.destination, Verb::recv, transfer, kResultSlot, transfer.source);
    append(transfer.destination, Verb::assign, transfer, kResultSlot);
  }

  void take_layer(const Transfer& transfer) {
    const auto layer = static_cast<std::size_t>(transfer.layer);
    if (!encoded_[layer]) append(transfer.source, Verb::encode, transfer, transfer.layer);
    encoded_[layer] = true;
    append(transfer.source, Verb::send, transfer, transfer.layer, transfer.destination);
    append(transfer.destination, Verb::recv, transfer, transfer.layer, transfer.source);
  }

  bool layered_;
  Schedule schedule_;
  std::vector<bool> encoded_;         ///< [chunk], by its owner; [layer] with layers
  std::vector<int> results_to_send_;  ///< [chunk], by its owner
  std::vector<int> partials_to_add_;  ///< [chunk], by its owner
};

}  // namespace

Schedule lower(const Topology& topology, Collective collective, RankRange listed) {
  if (topology.layers > 1 && collective != Collective::allreduce) {
    throw Error(ErrorCode::unsupported, "layers in something other than an allreduce",
                "use an algorithm with one chunk per rank");
  }
  const auto transfers = merge_runs(transfers_of(topology, collective, listed));
  Lowering lowering(topology, collective, transfers, listed);
  for (const Transfer& transfer : transfers) lowering.take(transfer);
  return lowering.end(transfers.empty() ? 0 : transfers.back().round);
}

}  // namespace gradwire::collectives
