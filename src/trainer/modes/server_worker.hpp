#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "gradwire/parameter_server.hpp"
#include "trainer/host_view.hpp"
#include "trainer/sgd.hpp"
#include "trainer/training_mode.hpp"

namespace gradwire::trainer {

/// This process as a worker of parameter servers, for the modes that have some. Arenas have the layout of the
/// model's weights; its parameters are the keys.
class ServerWorker {
 public:
  /// Joins as worker `number` of `workers`, with what the options say of servers, codecs and links. Where
  /// options.rejoin says that another had this number, waits until the servers know that it is gone.
  ServerWorker(const ModeContext& context, int number, int workers, const std::string& consistency);

  /// Makes the parameters known; if the servers know them already, the arena gets their values.
  void init(std::span<float> arena, const std::string& optimizer);
  /// Begins to bring the parameter's part of the arena to its next step's values; wait() ends it.
  void push_pull(int parameter, std::span<float> gradient, std::span<float> arena);
  void push_all(std::span<float> arena);
  /// Returns when all have arrived, or failed.
  void pull_all(std::span<float> arena);
  /// For everything that is being pulled.
  void wait();
  void clock() { client_.clock(); }
  void flush() { client_.flush(); }

  /// Does what asks the servers. If they refuse it since they have gone on without this worker, takes part
  /// again, brings the arena to their values, and returns true.
  bool was_missed(std::span<float> arena, const std::function<void()>& ask);

  /// Clocks of this run until now, those that passed without this worker included.
  [[nodiscard]] std::uint64_t clocks() const noexcept { return client_.now() - clock_before_; }
  /// Bytes are those since init().
  [[nodiscard]] ParameterServerClientReport report() const noexcept;

 private:
  const Mlp& model_;
  ParameterServerClient client_;
  std::vector<Work> pulls_;
  std::uint64_t clock_before_;  ///< the run began
  ParameterServerClientReport before_;
};

/// What the trainer's own optimizer is on a server.
[[nodiscard]] std::string momentum_spec(const SgdOptions& options);

/// Weights that a look at others' has to leave as they are, since pulls build on them.
class OwnWeights {
 public:
  void keep(std::span<const float> weights);
  /// What was kept, if anything was since the last time.
  void restore(HostView& weights);

 private:
  std::vector<float> kept_;
};

}  // namespace gradwire::trainer
