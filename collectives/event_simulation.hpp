#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <queue>
#include <unordered_map>
#include <vector>

#include "collectives/cost_model.hpp"
#include "collectives/program.hpp"
#include "collectives/schedule.hpp"

namespace gradwire::collectives {

/// The programs of a schedule on a clock, as the host executor runs them. A rank does one thing at a time:
/// it takes all that has arrived, then sends all that can be sent, and so on, first come, first served, and
/// to each peer in list order. A frame to another host waits for the way out of its host, then, a latency
/// later, for the way into the other; its bytes flow through both at once. Buffers hold whatever comes.
class EventSimulation {
 public:
  EventSimulation(const Schedule& schedule, const Layout& layout, const compress::Codec& codec,
                  const Cluster& cluster);

  /// Once.
  Cost run();

 private:
  static constexpr std::uint32_t kNothing = std::numeric_limits<std::uint32_t>::max();

  struct CellState {
    std::uint32_t next = 0;      ///< instruction
    std::uint32_t arrivals = 0;  ///< where its instructions' begin in Rank::arrivals
  };
  enum class Arrival : std::uint8_t { awaited, here, queued };
  /// What leaves for one peer.
  struct Outgoing {
    int peer = 0;
    std::vector<Transfer> frames;
    std::size_t posted = 0;
    bool offered = false;  ///< in Rank::sendable, or being worked on
  };
  struct Rank {
    std::vector<Instruction> instructions;
    std::vector<Cell> cells;
    std::vector<CellState> states;
    std::vector<Arrival> arrivals;  ///< by cell and instruction
    /// Which instruction of a chunk's cells takes the frame that key() names.
    std::unordered_map<std::uint64_t, std::uint32_t> takes;
    std::vector<Outgoing> outgoing;                      ///< those with frames, from the next rank on
    std::unordered_map<int, std::uint32_t> outgoing_to;  ///< peer -> index of outgoing
    std::deque<std::uint32_t> consumable;                ///< cells
    std::deque<std::uint32_t> sendable;                  ///< indices of outgoing
    bool working = false;
    bool waiting = false;              ///< for a core
    bool sends = true;                 ///< rather than takes, until nothing is left to send
    std::uint32_t cell = 0;            ///< that is worked on
    std::uint32_t advanced = 0;        ///< the instruction that it will have come to
    std::uint32_t sending = kNothing;  ///< index of outgoing
  };
  struct Frame {
    int destination = 0;
    std::uint32_t cell = 0;
    std::uint32_t instruction = 0;
    double bytes = 0;
  };
  enum class What : std::uint8_t { worked, head, arrived };
  struct Event {
    double at = 0;
    std::uint64_t number = 0;  ///< of two at one time the earlier one is first
    What what = What::worked;
    std::uint32_t which = 0;       ///< rank, or frame
    std::uint32_t way = kNothing;  ///< of a frame

    friend bool operator>(const Event& one, const Event& other) noexcept {
      return one.at != other.at ? one.at > other.at : one.number > other.number;
    }
  };
  /// Where frames follow each other: only the first of each is among events_, which stay few that way.
  struct Way {
    double free = 0;
    std::deque<Event> events;
  };
  /// How a transfer between two hosts looks from the first of them.
  struct Place {
    int source = 0;
    int destination = 0;
    int chunk = 0;
    int layer = 0;
  };

  static std::uint64_t key(int chunk, int source, Stage stage, int layer) noexcept;
  [[nodiscard]] int host_of(int rank) const noexcept;
  [[nodiscard]] Place seen(int source, int destination, int chunk, int layer) const noexcept;
  [[nodiscard]] const Segment& segment(std::uint32_t cell) const noexcept { return layout_.segments[cell]; }
  [[nodiscard]] std::uint32_t length(const Cell& cell) const noexcept {
    return cell.instruction_end - cell.instruction_begin;
  }

  void add_rank(const Program& program);
  [[nodiscard]] std::uint32_t way_out(int rank) const noexcept;
  [[nodiscard]] std::uint32_t way_in(int rank) const noexcept;
  [[nodiscard]] std::uint32_t own_way(int rank) const noexcept;
  void happen(double at, What what, std::size_t which, std::uint32_t way = kNothing);
  /// Looks whether the next frame for a peer can be sent, once what its cell waits for has come.
  void offer(Rank& rank, std::uint32_t outgoing);
  /// The same for a cell whose next frame has come.
  void offer_cell(Rank& rank, std::uint32_t cell);
  void start_work(std::uint32_t index);
  /// False: none is free, and the rank will be started when its turn has come.
  bool take_core(std::uint32_t index);
  void end_work(std::uint32_t index);
  /// What a rank works on the instructions [from, to) of a cell.
  [[nodiscard]] double time_of(const Rank& rank, std::uint32_t cell, std::uint32_t from,
                               std::uint32_t to) const;
  [[nodiscard]] std::uint32_t next_receive(const Rank& rank, std::uint32_t cell, std::uint32_t from) const;
  void post(int source, const Transfer& transfer);
  void arrive(const Frame& frame);

  const Layout& layout_;
  const Cluster& cluster_;
  WorkTimes work_;
  int all_ranks_;
  int host_size_;  ///< where one host is priced
  std::vector<int> hosts_;
  int chunk_cycle_;
  int layers_;
  bool every_rank_;
  std::vector<Rank> ranks_;
  int free_cores_ = 0;
  std::deque<std::uint32_t> waiting_;  ///< ranks that would work if they had one
  std::vector<Way> ways_;              ///< out of and into each host, and inside hosts one of each rank
  std::vector<Frame> frames_;
  std::vector<std::uint32_t> free_frames_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::uint64_t happened_ = 0;
  double now_ = 0;
  std::size_t unfinished_ = 0;  ///< cells
  Cost cost_;
};

}  // namespace gradwire::collectives
