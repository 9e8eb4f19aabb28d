#pragma once

#include <string>

#include "base/environment.hpp"

namespace gradwire::rendezvous {

/// Where the ranks of the job that the environment describes meet; empty for a job of one rank. In this
/// order: GRADWIRE_STORE; MASTER_ADDR, at one of the 16 ports after MASTER_PORT; under srun the first node of
/// the list, at one of 16 ports that follow from the job's number; on several hosts mpi://, if `mpi` says
/// that MPI connects the ranks; else an abstract socket of this host named by the job. Throws
/// Error(invalid_argument) for a URL or node list that makes no sense, or when ranks are on several hosts and
/// nothing says where to meet.
std::string choose_store_url(const base::Environment& environment, bool mpi = false);

/// The first name of Slurm's "node[01-04,07],login2": "node01". Throws Error(invalid_argument).
std::string first_node(const std::string& list);

}  // namespace gradwire::rendezvous
