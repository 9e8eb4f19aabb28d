#pragma once

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "compress/codec.hpp"
#include "gradwire/consistency.hpp"
#include "gradwire/error.hpp"
#include "history_model.hpp"
#include "history_process.hpp"
#include "server_calls.hpp"

namespace gradwire::server {

inline constexpr std::int64_t kLease = 100;

/// How often what a history is about has happened.
struct HistoryCounts {
  std::uint64_t pulls = 0;
  std::uint64_t sealed_pulls = 0;
  std::uint64_t waits = 0;
  std::uint64_t refusals = 0;
  std::uint64_t repeats = 0;
};

/// A server, the model of it, and the processes of its workers: what all parts of a history share.
struct HistoryWorld {
  explicit HistoryWorld(std::uint32_t seed) : random(seed), workers(2 + below(5)), state({}) {
    constexpr Consistency::Mode kBsp = Consistency::Mode::bsp;
    const std::vector<Consistency> modes{{kBsp},
                                         {kBsp},
                                         {Consistency::Mode::ssp, 0},
                                         {Consistency::Mode::ssp, 1},
                                         {Consistency::Mode::ssp, 2},
                                         {Consistency::Mode::ssp, 3},
                                         {Consistency::Mode::asp}};
    model.consistency = modes[below(modes.size())];
    model.job_workers = workers;
    model.lease = kLease;
    for (std::uint32_t shard = 0; shard < kShards; ++shard) model.last_shard_clock[shard] = 0;
    push_spec = below(2) == 0 ? "none" : "bf16";
    pull_spec = std::vector<std::string>{"none", "bf16", "onebit:block=32"}[below(3)];
    push_codec = compress::make_codec(push_spec);
    pull_codec = compress::make_codec(pull_spec);
    kept = 1 + below(3);
    state = fresh_state();
    processes.resize(workers + 1);  // one more than the job began with may come
  }

  [[nodiscard]] std::string describe() const {
    return fmt::format("{} with {} workers, push {}, pull {}, {} kept", to_string(model.consistency), workers,
                       push_spec, pull_spec, kept);
  }

  std::uint32_t below(std::size_t bound) { return static_cast<std::uint32_t>(random() % bound); }

  /// Of a server that has just begun.
  ServerState fresh_state() {
    return ServerState(
        {.lease = std::chrono::milliseconds(kLease), .kept_versions = kept, .incarnation = ++incarnation});
  }

  /// Something of a process arrives.
  void hear(const Process& process) {
    const bool live = model.is_live(process.number, process.session);
    require(state.heard(process.number, process.session, at_ms(now)) == live, "a sign of life was misjudged");
    if (live) model.workers[process.number].deadline = now + kLease;
  }

  /// Expects peer_lost exactly when the model says that the worker is not live.
  template <typename F>
  bool allowed(const Process& process, const char* what, F&& call) {
    const bool live = model.is_live(process.number, process.session);
    try {
      call();
    } catch (const Error& error) {
      require(!live && error.code() == ErrorCode::peer_lost,
              fmt::format("{} of worker {} was refused: {}", what, process.number, error.what()));
      ++counts.refusals;
      return false;
    }
    require(live, fmt::format("{} of worker {} was accepted after its lease", what, process.number));
    return true;
  }

  std::mt19937 random;
  std::uint32_t workers;
  std::uint32_t kept = 1;
  std::uint64_t incarnation = 0;
  std::int64_t now = 0;
  std::string push_spec;
  std::string pull_spec;
  std::shared_ptr<const compress::Codec> push_codec;
  std::shared_ptr<const compress::Codec> pull_codec;
  ServerState state;
  HistoryModel model;
  std::vector<std::optional<Process>> processes;
  HistoryCounts counts;
};

}  // namespace gradwire::server
