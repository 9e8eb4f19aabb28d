#include "collectives/event_simulation.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "gradwire/error.hpp"

namespace gradwire::collectives {
namespace {

bool receives(const Instruction& instruction) {
  return instruction.action == Action::receive_add || instruction.action == Action::receive_assign ||
         instruction.action == Action::receive_keep;
}

}  // namespace

EventSimulation::EventSimulation(const Schedule& schedule, const Layout& layout, const compress::Codec& codec,
                                 const Cluster& cluster)
    : layout_(layout),
      cluster_(cluster),
      work_(cluster, codec),
      all_ranks_(schedule.ranks),
      host_size_(equal_host_size(schedule.ranks, schedule.hosts)),
      hosts_(schedule.hosts),
      chunk_cycle_(schedule.chunk_cycle),
      layers_(schedule.layers),
      every_rank_(schedule.listed.begin == 0 && schedule.listed.end >= schedule.ranks) {
  if (hosts_.empty()) {
    hosts_.resize(static_cast<std::size_t>(all_ranks_));
    std::iota(hosts_.begin(), hosts_.end(), 0);
  }
  const bool one_host =
      chunk_cycle_ > 0 && host_size_ > 0 && schedule.listed.begin == 0 && schedule.listed.end == host_size_;
  if (!every_rank_ && !one_host) {
    throw Error(ErrorCode::invalid_argument, "a schedule that lists some of its ranks was to be priced",
                "list all ranks, or those of the first of several hosts that do the same");
  }
  const int listed = std::min(schedule.listed.end, all_ranks_);
  if (!every_rank_ && cluster.cores > 0 && cluster.cores < all_ranks_) {
    throw Error(ErrorCode::invalid_argument,
                "one host was to stand for ranks that wait for each other's cores", "list all ranks");
  }
  const auto hosts = static_cast<std::size_t>(hosts_[static_cast<std::size_t>(listed) - 1]) + 1;
  ways_.resize(2 * hosts + static_cast<std::size_t>(listed));
  ranks_.reserve(static_cast<std::size_t>(listed));
  free_cores_ = cluster.cores > 0 ? std::min(cluster.cores, listed) : listed;
  std::vector<std::uint64_t> link_bytes(hosts);
  for (int rank = 0; rank < listed; ++rank) {
    const Program program = compile(schedule, layout, codec, rank);
    cost_.sent.payload_bytes += program.sent.payload_bytes;
    cost_.sent.frames += program.sent.frames;
    cost_.sent_inside.payload_bytes += program.sent_inside.payload_bytes;
    cost_.sent_inside.frames += program.sent_inside.frames;
    link_bytes[static_cast<std::size_t>(host_of(rank))] +=
        program.sent.wire_bytes() - program.sent_inside.wire_bytes();
    add_rank(program);
  }
  cost_.busiest_link = std::ranges::max(link_bytes);
  cost_.every_rank = every_rank_;
  if (!every_rank_) {
    const auto same = static_cast<std::uint64_t>(all_ranks_ / host_size_);
    for (Volume* volume : {&cost_.sent, &cost_.sent_inside}) {
      volume->payload_bytes *= same;
      volume->frames *= same;
    }
  }
}

void EventSimulation::add_rank(const Program& program) {
  Rank& rank = ranks_.emplace_back();
  rank.instructions = program.instructions;
  rank.cells = program.cells;
  std::uint32_t instructions = 0;
  for (const Cell& cell : rank.cells) {
    rank.states.push_back({.next = 0, .arrivals = instructions});
    instructions += length(cell);
  }
  rank.arrivals.resize(instructions, Arrival::awaited);
  unfinished_ += rank.cells.size();
  for (int distance = 1; distance < all_ranks_; ++distance) {
    const int peer = (program.rank + distance) % all_ranks_;
    const auto p = static_cast<std::size_t>(peer);
    for (const Transfer& transfer : program.receives[p]) {
      const Segment& part = segment(transfer.cell);
      const Cell& cell = rank.cells[transfer.cell];
      const Instruction& taker = rank.instructions[cell.instruction_begin + transfer.instruction];
      if (part.index == 0) {
        rank.takes[key(static_cast<int>(part.chunk), peer, taker.stage, taker.layer)] = transfer.instruction;
      }
    }
    if (program.sends[p].empty()) continue;
    rank.outgoing_to[peer] = static_cast<std::uint32_t>(rank.outgoing.size());
    rank.outgoing.push_back({.peer = peer, .frames = program.sends[p]});
  }
}

std::uint64_t EventSimulation::key(int chunk, int source, Stage stage, int layer) noexcept {
  return static_cast<std::uint64_t>(chunk) << 40U | static_cast<std::uint64_t>(source) << 18U |
         static_cast<std::uint64_t>(layer) << 2U | static_cast<std::uint64_t>(stage);
}

int EventSimulation::host_of(int rank) const noexcept { return hosts_[static_cast<std::size_t>(rank)]; }

EventSimulation::Place EventSimulation::seen(int source, int destination, int chunk,
                                             int layer) const noexcept {
  if (every_rank_) return {source, destination, chunk, layer};
  const int host = destination / host_size_;
  // Where hosts are told apart by chunks, each counts as many as it has ranks, or one; with layers, none.
  const int chunks_of_host = chunk_cycle_ / (all_ranks_ / host_size_);
  const auto shift = [&](int value, int step, int all) {
    return step == 0 ? value : (value + all - host * step % all) % all;
  };
  return {.source = shift(source, host_size_, all_ranks_),
          .destination = destination % host_size_,
          .chunk = chunk - chunk % chunk_cycle_ + shift(chunk % chunk_cycle_, chunks_of_host, chunk_cycle_),
          .layer = layers_ == 1 ? layer : shift(layer, host_size_, layers_)};
}

Cost EventSimulation::run() {
  if (all_ranks_ == 1) {
    for (const Segment& part : layout_.segments) {
      cost_.seconds += work_.of(Action::finish, Stage::result, part.count, false);
    }
    return cost_;
  }
  for (std::uint32_t rank = 0; rank < ranks_.size(); ++rank) {
    for (std::uint32_t i = 0; i < ranks_[rank].outgoing.size(); ++i) offer(ranks_[rank], i);
    start_work(rank);
  }
  while (!events_.empty()) {
    const Event event = events_.top();
    events_.pop();
    if (event.way != kNothing) {
      auto& following = ways_[event.way].events;
      following.pop_front();
      if (!following.empty()) events_.push(following.front());
    }
    now_ = event.at;
    switch (event.what) {
      case What::worked: end_work(event.which); break;
      case What::head: {
        const Frame& frame = frames_[event.which];
        const std::uint32_t way = way_in(frame.destination);
        double& free = ways_[way].free;
        free = std::max(free, now_) + frame.bytes / cluster_.link_rate;
        happen(free, What::arrived, event.which, way);
        break;
      }
      case What::arrived:
        free_frames_.push_back(event.which);
        arrive(frames_[event.which]);
        break;
    }
  }
  if (unfinished_ > 0) {
    throw Error(ErrorCode::invalid_argument, "a schedule that never ends was priced",
                "make schedules with make_schedule()");
  }
  cost_.seconds = now_;
  return cost_;
}

std::uint32_t EventSimulation::way_out(int rank) const noexcept {
  return 2 * static_cast<std::uint32_t>(host_of(rank));
}

std::uint32_t EventSimulation::way_in(int rank) const noexcept { return way_out(rank) + 1; }

std::uint32_t EventSimulation::own_way(int rank) const noexcept {
  return static_cast<std::uint32_t>(ways_.size() - ranks_.size()) + static_cast<std::uint32_t>(rank);
}

void EventSimulation::happen(double at, What what, std::size_t which, std::uint32_t way) {
  const Event event{
      .at = at, .number = happened_++, .what = what, .which = static_cast<std::uint32_t>(which), .way = way};
  if (way != kNothing) {
    auto& following = ways_[way].events;
    following.push_back(event);
    if (following.size() > 1) return;
  }
  events_.push(event);
}

std::uint32_t EventSimulation::next_receive(const Rank& rank, std::uint32_t cell, std::uint32_t from) const {
  const Cell& here = rank.cells[cell];
  const std::uint32_t end = length(here);
  while (from < end && !receives(rank.instructions[here.instruction_begin + from])) ++from;
  return from;
}

double EventSimulation::time_of(const Rank& rank, std::uint32_t cell, std::uint32_t from,
                                std::uint32_t to) const {
  const Cell& here = rank.cells[cell];
  const std::size_t count = segment(cell).count;
  double time = 0;
  for (std::uint32_t i = from; i < to; ++i) {
    const Instruction& now = rank.instructions[here.instruction_begin + i];
    // One pass adds and encodes.
    const bool fused = now.action == Action::receive_add && now.stage != Stage::local && !here.alias &&
                       i + 1 < to &&
                       rank.instructions[here.instruction_begin + i + 1].action == Action::encode;
    if (!fused) time += work_.of(now.action, now.stage, count, here.alias);
  }
  return time;
}

void EventSimulation::offer(Rank& rank, std::uint32_t outgoing) {
  Outgoing& queue = rank.outgoing[outgoing];
  if (queue.offered || queue.posted == queue.frames.size()) return;
  const Transfer& next = queue.frames[queue.posted];
  if (next_receive(rank, next.cell, rank.states[next.cell].next) <= next.instruction) return;
  queue.offered = true;
  rank.sendable.push_back(outgoing);
}

void EventSimulation::offer_cell(Rank& rank, std::uint32_t cell) {
  const CellState& state = rank.states[cell];
  const std::uint32_t due = next_receive(rank, cell, state.next);
  if (due == length(rank.cells[cell])) return;
  Arrival& arrival = rank.arrivals[state.arrivals + due];
  if (arrival != Arrival::here) return;
  arrival = Arrival::queued;
  rank.consumable.push_back(cell);
}

void EventSimulation::start_work(std::uint32_t index) {
  Rank& rank = ranks_[index];
  if (rank.working || (rank.consumable.empty() && rank.sendable.empty()) || !take_core(index)) return;
  std::uint32_t from = 0;
  if (rank.sends ? rank.sendable.empty() : rank.consumable.empty()) rank.sends = !rank.sends;
  if (!rank.sends && !rank.consumable.empty()) {
    rank.cell = rank.consumable.front();
    rank.consumable.pop_front();
    rank.sending = kNothing;
    from = rank.states[rank.cell].next;
    rank.advanced = next_receive(rank, rank.cell, next_receive(rank, rank.cell, from) + 1);
  } else {
    rank.sending = rank.sendable.front();
    rank.sendable.pop_front();
    const Outgoing& queue = rank.outgoing[rank.sending];
    rank.cell = queue.frames[queue.posted].cell;
    from = rank.states[rank.cell].next;
    const bool posted_alone = from > queue.frames[queue.posted].instruction;
    rank.advanced = posted_alone ? from : next_receive(rank, rank.cell, from);
  }
  rank.working = true;
  happen(now_ + cluster_.frame_time + time_of(rank, rank.cell, from, rank.advanced), What::worked, index);
}

void EventSimulation::end_work(std::uint32_t index) {
  Rank& rank = ranks_[index];
  const Cell& cell = rank.cells[rank.cell];
  const std::uint32_t from = std::exchange(rank.states[rank.cell].next, rank.advanced);
  if (from < rank.advanced && rank.advanced == length(cell)) --unfinished_;
  if (rank.sending != kNothing) {
    Outgoing& queue = rank.outgoing[rank.sending];
    post(static_cast<int>(index), queue.frames[queue.posted++]);
    queue.offered = false;
    offer(rank, rank.sending);
  }
  for (std::uint32_t i = from; i < rank.advanced; ++i) {
    const Instruction& passed = rank.instructions[cell.instruction_begin + i];
    if (passed.action == Action::send) offer(rank, rank.outgoing_to.at(passed.peer));
  }
  offer_cell(rank, rank.cell);
  rank.working = false;
  ++free_cores_;
  if (!waiting_.empty()) {
    const std::uint32_t next = waiting_.front();
    waiting_.pop_front();
    ranks_[next].waiting = false;
    start_work(next);
  }
  start_work(index);
}

bool EventSimulation::take_core(std::uint32_t index) {
  if (free_cores_ > 0) {
    --free_cores_;
    return true;
  }
  if (!std::exchange(ranks_[index].waiting, true)) waiting_.push_back(index);
  return false;
}

void EventSimulation::post(int source, const Transfer& transfer) {
  Rank& rank = ranks_[static_cast<std::size_t>(source)];
  const Segment& part = segment(transfer.cell);
  const Cell& cell = rank.cells[transfer.cell];
  const Instruction& send = rank.instructions[cell.instruction_begin + transfer.instruction];
  const Place place = seen(source, send.peer, static_cast<int>(part.chunk), send.layer);
  Volume volume;
  volume.add(send.stage == Stage::local ? sizeof(float) * part.count : part.payload_bound);

  std::size_t number = frames_.size();
  if (free_frames_.empty()) {
    frames_.emplace_back();
  } else {
    number = free_frames_.back();
    free_frames_.pop_back();
  }
  const Rank& taker = ranks_[static_cast<std::size_t>(place.destination)];
  Frame& frame = frames_[number];
  frame = {.destination = place.destination,
           .cell = layout_.chunk_segments[static_cast<std::size_t>(place.chunk)] + part.index,
           .instruction = taker.takes.at(key(place.chunk, place.source, send.stage, place.layer)),
           .bytes = static_cast<double>(volume.wire_bytes())};
  if (host_of(source) == host_of(send.peer)) {
    const std::uint32_t way = own_way(source);
    double& free = ways_[way].free;
    free = std::max(free, now_) + frame.bytes / cluster_.inside_rate;
    happen(free + cluster_.inside_latency, What::arrived, number, way);
  } else {
    const std::uint32_t way = way_out(source);
    double& free = ways_[way].free;
    const double start = std::max(free, now_);
    free = start + frame.bytes / cluster_.link_rate;
    happen(start + cluster_.latency, What::head, number, way);
  }
}

void EventSimulation::arrive(const Frame& frame) {
  const auto index = static_cast<std::uint32_t>(frame.destination);
  Rank& rank = ranks_[index];
  rank.arrivals[rank.states[frame.cell].arrivals + frame.instruction] = Arrival::here;
  offer_cell(rank, frame.cell);
  start_work(index);
}

}  // namespace gradwire::collectives
