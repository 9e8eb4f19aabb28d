#include "base/environment.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string_view>

#include "base/limits.hpp"
#include "gradwire/error.hpp"

namespace gradwire::base {
namespace {

constexpr std::array kVariables{
    EnvironmentVariable{"GRADWIRE_RANK", "this process's rank, from 0; with GRADWIRE_WORLD_SIZE"},
    EnvironmentVariable{"GRADWIRE_WORLD_SIZE", "how many ranks the job has"},
    EnvironmentVariable{"GRADWIRE_JOB",
                        "names the job: ranks of one job find each other, others are refused"},
    EnvironmentVariable{"GRADWIRE_STORE",
                        "where ranks meet: tcp://host:port, file:///path, unix://name or mpi://"},
    EnvironmentVariable{"GRADWIRE_TRANSPORT", "auto (default), shm, tcp, mpi, ucx or inproc"},
    EnvironmentVariable{"GRADWIRE_INTERFACE",
                        "for tcp: a network interface (eth0) or an address of this host"},
    EnvironmentVariable{"GRADWIRE_LINK_RATE",
                        "emulates a slow link per rank, each way: 100mbit, 1gbit, 12.5MB"},
    EnvironmentVariable{"GRADWIRE_CODEC",
                        "replaces every lossy codec a program asks for; none: no compression"},
    EnvironmentVariable{"GRADWIRE_CHECK",
                        "1: checksums on payloads in shared memory and between threads, too"},
    EnvironmentVariable{"GRADWIRE_HOSTID",
                        "ranks with the same text count as one host, others as different ones"},
    EnvironmentVariable{"GRADWIRE_TIMEOUT",
                        "time without progress before an operation fails: 300 (seconds), 500ms, 5m"},
    EnvironmentVariable{"GRADWIRE_CONNECTIONS", "for tcp: connections per peer, 1 to 64"},
    EnvironmentVariable{"RANK", "torchrun: this process's rank; with WORLD_SIZE"},
    EnvironmentVariable{"WORLD_SIZE", "torchrun: how many ranks the job has"},
    EnvironmentVariable{"LOCAL_RANK", "torchrun: this process's rank on its host"},
    EnvironmentVariable{"LOCAL_WORLD_SIZE", "torchrun: ranks on this host"},
    EnvironmentVariable{"MASTER_ADDR", "rank 0's host: ranks meet there unless GRADWIRE_STORE is set"},
    EnvironmentVariable{"MASTER_PORT",
                        "ranks meet at the first free of the 16 ports after it (default 29500)"},
    EnvironmentVariable{"TORCHELASTIC_RUN_ID", "torchrun: part of the job's name unless GRADWIRE_JOB is set"},
    EnvironmentVariable{"TORCHELASTIC_RESTART_COUNT", "torchrun: likewise"},
    EnvironmentVariable{"OMPI_COMM_WORLD_RANK", "Open MPI's mpirun: this process's rank"},
    EnvironmentVariable{"OMPI_COMM_WORLD_SIZE", "Open MPI's mpirun: how many ranks the job has"},
    EnvironmentVariable{"OMPI_COMM_WORLD_LOCAL_RANK", "Open MPI's mpirun: this process's rank on its host"},
    EnvironmentVariable{"OMPI_COMM_WORLD_LOCAL_SIZE", "Open MPI's mpirun: ranks on this host"},
    EnvironmentVariable{"PMIX_NAMESPACE", "Open MPI's mpirun: the job's name unless GRADWIRE_JOB is set"},
    EnvironmentVariable{"PMI_RANK", "MPICH's mpiexec: this process's rank; only with MPI_LOCALRANKID"},
    EnvironmentVariable{"PMI_SIZE", "MPICH's mpiexec: how many ranks the job has"},
    EnvironmentVariable{"MPI_LOCALRANKID", "MPICH's mpiexec: this process's rank on its host"},
    EnvironmentVariable{"MPI_LOCALNRANKS", "MPICH's mpiexec: ranks on this host"},
    EnvironmentVariable{"SLURM_PROCID", "srun: this process's rank; only with SLURM_STEP_ID"},
    EnvironmentVariable{"SLURM_NTASKS", "srun: how many ranks the step has"},
    EnvironmentVariable{"SLURM_LOCALID", "srun: this process's rank on its host"},
    EnvironmentVariable{"SLURM_JOB_ID", "srun: the port where ranks meet comes from it"},
    EnvironmentVariable{"SLURM_STEP_ID", "srun: the step; batch scripts, which are not ranks, have none"},
    EnvironmentVariable{"SLURM_STEP_NODELIST", "srun: ranks meet on the first node of this list"},
    EnvironmentVariable{"SLURM_JOB_NODELIST", "srun: likewise, where SLURM_STEP_NODELIST is not set"},
};

[[noreturn]] void refuse(const char* name, std::string_view value, std::string_view allowed) {
  throw Error(ErrorCode::invalid_argument, fmt::format("{}={} makes no sense", name, value),
              fmt::format("set {} to {}, or unset it", name, allowed));
}

/// Reads variables one by one; empty ones are not there.
class Reader {
 public:
  explicit Reader(const Environment::Lookup& lookup) : lookup_(lookup) {}

  [[nodiscard]] std::optional<std::string> text(const char* name) const {
    const char* value = lookup_(name);
    if (value == nullptr || *value == '\0') return std::nullopt;
    return value;
  }

  [[nodiscard]] bool has(const char* name) const { return text(name).has_value(); }

  [[nodiscard]] std::optional<std::int64_t> integer(const char* name, std::int64_t low,
                                                    std::int64_t high) const {
    const auto value = text(name);
    if (!value) return std::nullopt;
    std::int64_t number = 0;
    const char* end = value->data() + value->size();
    const auto [stop, error] = std::from_chars(value->data(), end, number);
    if (error != std::errc{} || stop != end || number < low || number > high) {
      refuse(name, *value, fmt::format("a whole number from {} to {}", low, high));
    }
    return number;
  }

  [[nodiscard]] std::optional<int> small(const char* name, int low, int high) const {
    const auto value = integer(name, low, high);
    if (!value) return std::nullopt;
    return static_cast<int>(*value);
  }

  [[nodiscard]] std::optional<bool> flag(const char* name) const {
    const auto value = text(name);
    if (!value) return std::nullopt;
    for (const std::string_view yes : {"1", "true", "yes", "on"}) {
      if (*value == yes) return true;
    }
    for (const std::string_view no : {"0", "false", "no", "off"}) {
      if (*value == no) return false;
    }
    refuse(name, *value, "1 or 0");
  }

  [[nodiscard]] std::optional<std::chrono::milliseconds> duration(const char* name) const {
    const auto value = text(name);
    if (!value) return std::nullopt;
    double number = 0;
    const char* end = value->data() + value->size();
    const auto [stop, error] = std::from_chars(value->data(), end, number);
    const std::string_view unit(stop, static_cast<std::size_t>(end - stop));
    double milliseconds = -1;
    if (unit.empty() || unit == "s") milliseconds = number * 1e3;
    if (unit == "ms") milliseconds = number;
    if (unit == "m") milliseconds = number * 6e4;
    constexpr double kMonth = 30.0 * 24 * 3600 * 1000;
    if (error != std::errc{} || !std::isfinite(milliseconds) || milliseconds < 1 || milliseconds > kMonth) {
      refuse(name, *value, "a time from 1ms to 30 days, like 300 (seconds), 2.5s, 500ms or 5m");
    }
    return std::chrono::milliseconds(static_cast<std::int64_t>(milliseconds));
  }

 private:
  const Environment::Lookup& lookup_;
};

/// Sets rank and world size from a pair of variables that both are there.
void take_rank(Environment& out, const Reader& reader, const char* rank, const char* size) {
  out.world_size = reader.small(size, 1, kMaxRanks).value_or(1);
  out.rank = reader.small(rank, 0, out.world_size - 1).value_or(0);
}

void read_launcher(Environment& out, const Reader& reader) {
  const bool rank = reader.has("GRADWIRE_RANK");
  if (rank != reader.has("GRADWIRE_WORLD_SIZE")) {
    const char* set = rank ? "GRADWIRE_RANK" : "GRADWIRE_WORLD_SIZE";
    const char* missing = rank ? "GRADWIRE_WORLD_SIZE" : "GRADWIRE_RANK";
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{}={} is set but {} is not", set, reader.text(set).value_or(""), missing),
                "set both or neither");
  }
  if (rank) {
    out.launcher = Launcher::gradwire;
    take_rank(out, reader, "GRADWIRE_RANK", "GRADWIRE_WORLD_SIZE");
  } else if (reader.has("RANK") && reader.has("WORLD_SIZE")) {
    out.launcher = Launcher::torchrun;
    take_rank(out, reader, "RANK", "WORLD_SIZE");
    out.local_rank = reader.small("LOCAL_RANK", 0, kMaxRanks);
    out.local_size = reader.small("LOCAL_WORLD_SIZE", 1, kMaxRanks);
  } else if (reader.has("OMPI_COMM_WORLD_RANK") && reader.has("OMPI_COMM_WORLD_SIZE")) {
    out.launcher = Launcher::open_mpi;
    take_rank(out, reader, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE");
    out.local_rank = reader.small("OMPI_COMM_WORLD_LOCAL_RANK", 0, kMaxRanks);
    out.local_size = reader.small("OMPI_COMM_WORLD_LOCAL_SIZE", 1, kMaxRanks);
  } else if (reader.has("PMI_RANK") && reader.has("PMI_SIZE") && reader.has("MPI_LOCALRANKID")) {
    // Before Slurm: Hydra's proxies may have been started by srun. What srun itself sets of these lacks the
    // third.
    out.launcher = Launcher::hydra;
    take_rank(out, reader, "PMI_RANK", "PMI_SIZE");
    out.local_rank = reader.small("MPI_LOCALRANKID", 0, kMaxRanks);
    out.local_size = reader.small("MPI_LOCALNRANKS", 1, kMaxRanks);
  } else if (reader.has("SLURM_PROCID") && reader.has("SLURM_NTASKS") && reader.has("SLURM_STEP_ID")) {
    out.launcher = Launcher::slurm;
    take_rank(out, reader, "SLURM_PROCID", "SLURM_NTASKS");
    out.local_rank = reader.small("SLURM_LOCALID", 0, kMaxRanks);
    const auto job = reader.integer("SLURM_JOB_ID", 0, INT64_MAX);
    if (job) out.slurm_job = static_cast<std::uint64_t>(*job);
    out.slurm_nodes = reader.text("SLURM_STEP_NODELIST")
                          .value_or(reader.text("SLURM_JOB_NODELIST").value_or(std::string{}));
  }
}

std::string name_job(const Environment& out, const Reader& reader) {
  if (const auto job = reader.text("GRADWIRE_JOB")) {
    if (job->size() > kMaxJobBytes) {
      refuse("GRADWIRE_JOB", *job, fmt::format("at most {} bytes", kMaxJobBytes));
    }
    return *job;
  }
  const auto part = [&](const char* name, const char* otherwise) {
    return reader.text(name).value_or(otherwise);
  };
  switch (out.launcher) {
    case Launcher::torchrun:
      // The agent's own port is what differs between two jobs of one host that nobody has named.
      return fmt::format("torchrun-{}-{}-{}-{}", part("TORCHELASTIC_RUN_ID", "none"), out.master_address,
                         out.master_port, part("TORCHELASTIC_RESTART_COUNT", "0"))
          .substr(0, kMaxJobBytes);
    case Launcher::open_mpi:
      if (reader.has("PMIX_NAMESPACE")) {
        return fmt::format("mpirun-{}", part("PMIX_NAMESPACE", "")).substr(0, kMaxJobBytes);
      }
      break;
    case Launcher::slurm:
      return fmt::format("slurm-{}-{}", part("SLURM_JOB_ID", "none"), part("SLURM_STEP_ID", "0"))
          .substr(0, kMaxJobBytes);
    case Launcher::none:
    case Launcher::gradwire:
    case Launcher::hydra: break;
  }
  return "default";
}

}  // namespace

std::span<const EnvironmentVariable> environment_variables() noexcept { return kVariables; }

Environment Environment::read(const Lookup& lookup) {
  const Reader reader(lookup);
  Environment out;
  read_launcher(out, reader);
  out.master_address = reader.text("MASTER_ADDR").value_or("");
  if (!out.master_address.empty()) {
    out.master_port = reader.small("MASTER_PORT", 1, 65535).value_or(out.master_port);
  }
  out.job = name_job(out, reader);
  out.store_url = reader.text("GRADWIRE_STORE").value_or("");
  out.transport = reader.text("GRADWIRE_TRANSPORT").value_or(out.transport);
  out.interface = reader.text("GRADWIRE_INTERFACE").value_or("");
  out.link_rate = reader.text("GRADWIRE_LINK_RATE").value_or("");
  out.codec = reader.text("GRADWIRE_CODEC").value_or("");
  out.host_id = reader.text("GRADWIRE_HOSTID").value_or("");
  out.check = reader.flag("GRADWIRE_CHECK").value_or(out.check);
  out.timeout = reader.duration("GRADWIRE_TIMEOUT").value_or(out.timeout);
  out.connections = reader.small("GRADWIRE_CONNECTIONS", 1, kMaxConnections).value_or(out.connections);
  return out;
}

Environment Environment::read() {
  return read([](const char* name) -> const char* { return std::getenv(name); });
}

}  // namespace gradwire::base
