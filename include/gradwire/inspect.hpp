#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "gradwire/export.hpp"

/// What schedules and codecs do, as plain data: for tools, benchmarks and checks, not for the hot path.
namespace gradwire::inspect {

/// One step of a rank, as `gradwire plan` prints it.
struct Step {
  std::string verb;   ///< "encode", "send", "recv", "add", "assign", "finish"
  std::string stage;  ///< "partial", "result", "local" (a partial sum inside a host)
  int chunk_begin = 0;
  int chunk_end = 0;
  int peer = -1;
  int slot = 0;
  int layer = 0;
  int round = 0;
};

struct RankSchedule {
  std::vector<Step> steps;
  std::uint64_t sent_bytes = 0;    ///< payload bytes for the asked tensor
  std::uint64_t inside_bytes = 0;  ///< of these, to ranks on the same host
  int sends = 0;                   ///< send steps; each is as many frames as its chunks have segments
};

struct Description {
  std::string algorithm;  ///< "auto" resolved; "binomial" for broadcast and barrier
  std::string codec;      ///< canonical
  int chunk_count = 0;
  int layers = 0;
  int rounds = 0;  ///< in which a transfer happens
  std::vector<RankSchedule> ranks;
};

/// What a simulated job runs on. Rates are bytes a second, times are seconds.
struct Cluster {
  double link_rate = 119.6e6;  ///< of frames over a host's link, each way, shared by its ranks: TCP on 1 Gb/s
  double latency = 50e-6;      ///< from one host to another, beside what the link's rate takes
  double inside_rate = 3e9;    ///< of a rank's frames to other ranks of its host
  double inside_latency = 2e-6;
  double frame_time =
      3e-6;  ///< that a rank spends on a frame, besides its bytes, when sending and when receiving
  double plain_rate = 8e9;    ///< of float32 that a rank adds or copies
  double encode_rate = 12e9;  ///< of float32 that a rank encodes, of codecs that lose anything
  double decode_rate = 24e9;  ///< of float32 that a rank decodes and adds, of the same codecs
  int cores = 0;  ///< that all ranks share, as where one machine plays all hosts; 0: each rank has its own
};

/// What the cost model makes of a collective. Bytes count headers.
struct Simulation {
  std::string algorithm;  ///< "auto" resolved
  std::string codec;      ///< canonical
  int hosts = 1;
  double seconds = 0;               ///< until the last rank has finished
  double bound_seconds = 0;         ///< what the links alone take for the fewest payload bytes that can do it
  std::uint64_t inside_bytes = 0;   ///< sent by all ranks to ranks of their hosts
  std::uint64_t between_bytes = 0;  ///< sent by all ranks to other hosts
  std::uint64_t busiest_link_bytes = 0;  ///< sent by the host that sends most to others
  std::uint64_t frames = 0;
  bool every_rank = true;  ///< false: one host's ranks were priced, and the others do the same
};

struct Address {
  std::string host;
  std::uint16_t port = 0;  ///< 0: none was named

  friend bool operator==(const Address&, const Address&) = default;
};

/// The schedule of `collective` ("allreduce", "reduce-scatter", "allgather", "broadcast", "barrier") of one
/// float32 tensor of `count` elements (a barrier's is 1). `hosts` as Communicator::hosts(); empty: each rank
/// has a host of its own. Throws Error(invalid_argument, unsupported).
GRADWIRE_EXPORT Description describe(const std::string& collective, const std::string& algorithm,
                                     const std::string& codec, int ranks, std::size_t count,
                                     const std::vector<int>& hosts = {});

/// How long `collective` takes on a cluster, segment by segment as the executor runs it, and what it moves.
/// `hosts` as for describe(); ranks of one host share its link. Throws Error(invalid_argument, unsupported):
/// up to 4096 ranks; of more than a schedule can list, only algorithms in which all hosts do the same can be
/// priced, and not what would take gigabytes to simulate.
GRADWIRE_EXPORT Simulation simulate(const std::string& collective, const std::string& algorithm,
                                    const std::string& codec, int ranks, std::size_t count,
                                    const Cluster& cluster, const std::vector<int>& hosts = {});

/// The same schedule as traces for SimGrid's `smpirun -replay`: gives `take` a rank's number and its trace,
/// rank by rank. Work becomes floating-point operations of hosts that do `flops` of them a second; links are
/// SimGrid's to know. Throws Error(invalid_argument, unsupported).
GRADWIRE_EXPORT void replay_traces(const std::string& collective, const std::string& algorithm,
                                   const std::string& codec, int ranks, std::size_t count,
                                   const Cluster& cluster, const std::vector<int>& hosts, double flops,
                                   const std::function<void(int, const std::string&)>& take);

/// The right answer: what an allreduce of one float32 tensor gives on every rank, bit for bit, computed in
/// this thread with scalar codecs. inputs[r] is rank r's tensor; residuals[r] (empty: none; no entries at
/// all: none anywhere) is replaced by its new residual. Where a lossy codec meets a NaN or an infinity the
/// result is NaN everywhere and residuals stay, as with OnNonFinite::propagate. Throws
/// Error(invalid_argument, unsupported).
GRADWIRE_EXPORT std::vector<float> oracle_allreduce(const std::string& algorithm, const std::string& codec,
                                                    bool average,
                                                    const std::vector<std::vector<float>>& inputs,
                                                    std::vector<std::vector<float>>& residuals,
                                                    const std::vector<int>& hosts = {});

/// Names for --help and messages.
GRADWIRE_EXPORT std::vector<std::string> algorithms();
GRADWIRE_EXPORT std::vector<std::string> codecs();
/// A line for each codec, with its options.
GRADWIRE_EXPORT std::string describe_codecs();
GRADWIRE_EXPORT std::vector<std::string> transports();
/// CommunicatorOptions::link_rate in bytes a second: "100mbit" is 12.5e6. Throws Error(invalid_argument).
GRADWIRE_EXPORT double parse_link_rate(const std::string& text);
/// Where a server listens, as people write it: "host:port", "[::1]:port", or either without a port. Throws
/// Error(invalid_argument) for anything else.
GRADWIRE_EXPORT Address parse_address(const std::string& text);
/// Version, instruction set in use, optional parts built in or left out: what `gradwire info` prints.
GRADWIRE_EXPORT std::vector<std::pair<std::string, std::string>> build_information();

}  // namespace gradwire::inspect
