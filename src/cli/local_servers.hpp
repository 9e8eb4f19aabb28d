#pragma once

#include <string>
#include <vector>

#include "base/unique_fd.hpp"

namespace gradwire::cli {

/// Where servers that are still to be started will listen: ports of the loopback that nobody else is given as
/// long as this lives.
class LocalServers {
 public:
  /// Throws Error(system).
  explicit LocalServers(int count);

  /// "127.0.0.1:4711" of each.
  [[nodiscard]] const std::vector<std::string>& addresses() const noexcept { return addresses_; }
  /// The arguments of this program that start them, with `options` for each.
  [[nodiscard]] std::vector<std::vector<std::string>> commands(const std::vector<std::string>& options) const;

 private:
  std::vector<base::UniqueFd> reserved_;
  std::vector<std::string> addresses_;
};

}  // namespace gradwire::cli
