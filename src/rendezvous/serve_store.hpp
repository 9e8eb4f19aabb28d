#pragma once

#include <memory>
#include <string>

#include "base/socket_address.hpp"
#include "gradwire/store.hpp"

namespace gradwire::rendezvous {

struct ServedStore {
  std::shared_ptr<Store> store;
  std::string url;  ///< by which the other ranks find it
};

/// Rank 0's side of a store whose place the others are told: at a free port of `address`, or at an abstract
/// socket, which must be nobody else's. Throws Error(system).
[[nodiscard]] ServedStore serve_store(const base::SocketAddress& address, const std::string& job);
[[nodiscard]] ServedStore serve_store(const std::string& socket_name, const std::string& job);

}  // namespace gradwire::rendezvous
