#include "cli/local_servers.hpp"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <system_error>
#include <utility>

#include "gradwire/error.hpp"

namespace gradwire::cli {
namespace {

/// Bound and not listening: who reuses addresses, as servers do, can listen there, and nobody else is given
/// the port.
base::UniqueFd reserve_port(std::uint16_t& port) {
  base::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (!fd || ::bind(fd.get(), generic, size) != 0 || ::getsockname(fd.get(), generic, &size) != 0) {
    throw Error(ErrorCode::system, "no port for a server: " + std::generic_category().message(errno),
                "start servers with gradwire serve, and name their addresses");
  }
  port = ntohs(address.sin_port);
  return fd;
}

}  // namespace

LocalServers::LocalServers(int count) {
  for (int i = 0; i < count; ++i) {
    std::uint16_t port = 0;
    reserved_.push_back(reserve_port(port));
    addresses_.push_back(fmt::format("127.0.0.1:{}", port));
  }
}

std::vector<std::vector<std::string>> LocalServers::commands(const std::vector<std::string>& options) const {
  std::vector<std::vector<std::string>> commands;
  for (std::size_t i = 0; i < addresses_.size(); ++i) {
    auto& command = commands.emplace_back(
        std::vector<std::string>{"gradwire", "serve", "--quiet", "--listen", addresses_[i], "--index",
                                 std::to_string(i), "--servers", std::to_string(addresses_.size())});
    command.insert(command.end(), options.begin(), options.end());
  }
  return commands;
}

}  // namespace gradwire::cli
