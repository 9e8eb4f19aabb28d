#pragma once

#include <string>
#include <vector>

namespace gradwire::cli {

/// What a trace has to know of a SimGrid platform.
struct SimgridPlatform {
  std::vector<std::string> hosts;  ///< names, in the file's order, clusters counted out
  double flops = 0;                ///< that a host does a second; all do as many
};

/// Reads the <host> and <cluster> elements of a platform file. Throws Error(invalid_argument) when it cannot
/// be read, or has no hosts, hosts of several speeds, or what neither SimGrid nor this understands.
SimgridPlatform read_simgrid_platform(const std::string& file);

}  // namespace gradwire::cli
