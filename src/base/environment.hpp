#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

namespace gradwire::base {

/// Who started this process, and so which variables tell its rank.
enum class Launcher { none, gradwire, torchrun, open_mpi, hydra, slurm };

/// One environment variable that Gradwire reads.
struct EnvironmentVariable {
  const char* name;
  const char* meaning;
};

/// All of them, in the order of docs/running.md, which has the same table.
std::span<const EnvironmentVariable> environment_variables() noexcept;

/// Everything that Gradwire takes from the environment, checked. Nothing else in the library reads it.
/// An empty variable counts as one that is not set.
struct Environment {
  Launcher launcher = Launcher::none;
  int rank = 0;
  int world_size = 1;
  std::optional<int> local_rank;  ///< among the ranks of this host, where the launcher tells
  std::optional<int> local_size;  ///< ranks on this host, where the launcher tells

  /// GRADWIRE_JOB; else what the launcher's own variables tell apart one job from the next by; else
  /// "default".
  std::string job = "default";
  std::string store_url;                   ///< GRADWIRE_STORE
  std::string master_address;              ///< MASTER_ADDR
  int master_port = 29500;                 ///< MASTER_PORT
  std::optional<std::uint64_t> slurm_job;  ///< SLURM_JOB_ID, under srun only
  std::string slurm_nodes;                 ///< SLURM_STEP_NODELIST or SLURM_JOB_NODELIST, under srun only

  std::string transport = "auto";  ///< GRADWIRE_TRANSPORT
  std::string interface;           ///< GRADWIRE_INTERFACE
  std::string link_rate;           ///< GRADWIRE_LINK_RATE
  std::string codec;               ///< GRADWIRE_CODEC: used in place of every lossy codec asked for
  std::string host_id;             ///< GRADWIRE_HOSTID
  bool check = false;              ///< GRADWIRE_CHECK
  std::chrono::milliseconds timeout{300'000};  ///< GRADWIRE_TIMEOUT
  int connections = 1;                         ///< GRADWIRE_CONNECTIONS

  /// Returns the value of a variable, or null.
  using Lookup = std::function<const char*(const char* name)>;

  /// Throws Error(invalid_argument) that names the variable and its value.
  static Environment read(const Lookup& lookup);
  /// This process's.
  static Environment read();
};

}  // namespace gradwire::base
