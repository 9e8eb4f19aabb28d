#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"

namespace gradwire::transport {

/// Listens on an abstract Unix socket: it belongs to the network namespace and leaves nothing behind.
/// Throws Error(system).
[[nodiscard]] base::UniqueFd listen_unix(const std::string& name);

/// None when nobody listens there.
[[nodiscard]] base::UniqueFd dial_unix(const std::string& name);

/// Sends `bytes` and copies of the descriptors; false when the peer is gone.
[[nodiscard]] bool send_with_descriptors(int socket, std::span<const std::byte> bytes,
                                         std::span<const int> descriptors) noexcept;

/// Like read(), and adds descriptors that came along. Never keeps more than `most` of them.
[[nodiscard]] ssize_t receive_with_descriptors(const base::UniqueFd& socket, std::span<std::byte> bytes,
                                               std::vector<base::UniqueFd>& descriptors, std::size_t most);

}  // namespace gradwire::transport
