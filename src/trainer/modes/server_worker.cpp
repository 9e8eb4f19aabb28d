#include "trainer/modes/server_worker.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

namespace gradwire::trainer {
namespace {

/// A worker that loses its lease as often as that in a row is of no use.
constexpr int kMostRejoins = 5;

ParameterServerClientOptions client_options(const ModeContext& context, int number, int workers,
                                            const std::string& consistency) {
  const TrainOptions& options = context.options;
  ParameterServerClientOptions client;
  client.servers = options.modes.server_addresses;
  client.job = options.job;
  client.timeout = options.timeout;
  client.notice = context.notice;
  client.worker = number;
  client.workers = workers;
  client.waits_for_number = options.rejoin;
  client.consistency = parse_consistency(consistency);
  client.settings = context.settings;
  client.push_codec = options.modes.push_codec.empty() ? options.codec : options.modes.push_codec;
  client.pull_codec = options.modes.pull_codec.empty() ? options.codec : options.modes.pull_codec;
  client.transport = options.modes.server_transport;
  client.link_rate = options.link_rate;
  client.check_payload = options.check_payload;
  return client;
}

}  // namespace

ServerWorker::ServerWorker(const ModeContext& context, int number, int workers,
                           const std::string& consistency)
    : model_(context.model),
      client_(client_options(context, number, workers, consistency)),
      clock_before_(context.options.rejoin ? 0 : client_.now()) {
  if (context.options.restarts == 0 || clock_before_ == 0) return;
  throw Error(ErrorCode::invalid_argument,
              fmt::format("the servers are at clock {} already: a rank that were started again could not "
                          "tell from theirs how far this job is",
                          clock_before_),
              "leave --restarts out, or use servers that begin with the job");
}

void ServerWorker::init(std::span<float> arena, const std::string& optimizer) {
  for (const auto& parameter : model_.parameters()) {
    client_.init(parameter.name, arena.subspan(parameter.offset, parameter.count), {.optimizer = optimizer});
  }
  before_ = client_.report();
}

void ServerWorker::push_pull(int parameter, std::span<float> gradient, std::span<float> arena) {
  const auto& p = model_.parameters()[static_cast<std::size_t>(parameter)];
  pulls_.push_back(client_.push_pull(p.name, gradient, arena.subspan(p.offset, p.count)));
}

void ServerWorker::push_all(std::span<float> arena) {
  for (const auto& parameter : model_.parameters()) {
    (void)client_.push(parameter.name, arena.subspan(parameter.offset, parameter.count));
  }
}

void ServerWorker::pull_all(std::span<float> arena) {
  for (const auto& parameter : model_.parameters()) {
    pulls_.push_back(client_.pull(parameter.name, arena.subspan(parameter.offset, parameter.count)));
  }
  wait();
}

void ServerWorker::wait() {
  std::optional<Error> failure;
  for (Work& pull : std::exchange(pulls_, {})) {
    try {
      pull.wait();
    } catch (const Error& error) {
      if (!failure) failure = error;
    }
  }
  if (failure) throw Error(*failure);
}

bool ServerWorker::was_missed(std::span<float> arena, const std::function<void()>& ask) {
  for (int rejoins = 0;; ++rejoins) {
    try {
      if (rejoins == 0) {
        ask();
      } else {
        client_.rejoin();
        pull_all(arena);
      }
      return rejoins > 0;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::peer_lost || rejoins == kMostRejoins) throw;
    }
    try {
      // Those that were refused as well, before what they were lent changes.
      client_.flush();
    } catch (const Error& error) {
      if (error.code() != ErrorCode::peer_lost) throw;
    }
  }
}

ParameterServerClientReport ServerWorker::report() const noexcept {
  ParameterServerClientReport report = client_.report();
  report.wire_bytes_sent -= before_.wire_bytes_sent;
  report.wire_bytes_received -= before_.wire_bytes_received;
  return report;
}

std::string momentum_spec(const SgdOptions& options) {
  return fmt::format("momentum:lr={},mu={}", options.learning_rate, options.momentum);
}

void OwnWeights::keep(std::span<const float> weights) { kept_.assign(weights.begin(), weights.end()); }

void OwnWeights::restore(HostView& weights) {
  if (kept_.empty()) return;
  std::ranges::copy(kept_, weights.values().begin());
  kept_.clear();
  weights.store();
}

}  // namespace gradwire::trainer
