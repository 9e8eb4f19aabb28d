#pragma once

#include <cstddef>
#include <cstdint>
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
