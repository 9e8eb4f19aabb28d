#include <fmt/format.h>
#include <hwy/targets.h>

#include <bit>

#include "compress/cuda/device.hpp"
#include "gradwire/inspect.hpp"
#include "gradwire/version.hpp"
#include "transport/mpi/mpi_transport.hpp"
#include "transport/nccl/nccl_links.hpp"
#include "transport/transport.hpp"
#include "transport/ucx/ucx_transport.hpp"

namespace gradwire::inspect {
namespace {

/// Highway's lowest set bit is the best target that both this build and this CPU have.
std::string instruction_set() {
  const std::int64_t usable = hwy::SupportedTargets() & HWY_TARGETS;
  if (usable == 0) return "scalar";
  return hwy::TargetName(std::int64_t{1} << std::countr_zero(static_cast<std::uint64_t>(usable)));
}

std::string compiler() {
#if defined(__clang__)
  return fmt::format("Clang {}.{}.{}", __clang_major__, __clang_minor__, __clang_patchlevel__);
#else
  return fmt::format("GCC {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
}

std::string join(const std::vector<std::string>& words) { return fmt::format("{}", fmt::join(words, ", ")); }

}  // namespace

std::vector<std::string> transports() { return transport::available_transports(); }

double parse_link_rate(const std::string& text) { return transport::parse_rate(text); }

std::vector<std::pair<std::string, std::string>> build_information() {
  return {
      {"version", GRADWIRE_VERSION},           {"compiler", compiler()},
      {"instruction set", instruction_set()},  {"transports", join(transports())},
      {"algorithms", join(algorithms())},      {"CUDA", compress::describe_device()},
      {"NCCL", transport::nccl_information()}, {"MPI", transport::mpi_version()},
      {"UCX", transport::ucx_information()},
  };
}

}  // namespace gradwire::inspect
