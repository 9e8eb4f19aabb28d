#include "trainer/core_sharing.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <span>
#include <string>

#include "trainer/agreement.hpp"

namespace gradwire::trainer {

namespace {

/// Unlike its name, a machine's boot id is the same in all of its containers.
std::string machine() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  if (file >> id) return id;
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) == 0) id = name.data();
  return id;
}

}  // namespace

std::uint64_t this_machine() {
  const std::string id = machine();
  return fingerprint(std::as_bytes(std::span(id)));
}

std::uint64_t usable_cores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  // More cores than the mask holds: ranks of one machine then count as sharing them all.
  (void)::sched_getaffinity(0, sizeof(cores), &cores);
  return fingerprint(std::as_bytes(std::span(&cores, 1)), this_machine());
}

int place_among_equals(Communicator& comm, std::uint64_t number) {
  const auto all = values_of_all_ranks(comm, number);
  return static_cast<int>(std::count(all.begin(), all.begin() + comm.rank(), number));
}

int ranks_sharing(Communicator& comm, std::uint64_t cores) {
  const auto all = values_of_all_ranks(comm, cores);
  return static_cast<int>(std::ranges::count(all, cores));
}

}  // namespace gradwire::trainer
