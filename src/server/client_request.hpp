#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "server/client_operation.hpp"
#include "server/messages.hpp"

namespace gradwire::server {

/// What a worker holds of a shard, and who keeps it. Its session's thread alone touches what is below
/// `count`.
struct ClientShard {
  std::uint32_t server = 0;
  std::uint64_t first = 0;  ///< element of the key
  std::uint64_t count = 0;
  std::uint32_t number = 0;       ///< on its server
  std::uint64_t incarnation = 0;  ///< of the server that sealed `version`; 0: nothing whole is held
  std::uint64_t version = 0;
};

/// A request to one server, from when the user asks until it is answered. Buffers of the user are lent to it.
struct ClientRequest {
  std::shared_ptr<ClientOperation> operation;
  Request head;
  std::shared_ptr<ClientShard> shard;

  std::span<const std::byte> sent{};    ///< push: the payload; make_key: the value
  std::shared_ptr<const void> owner{};  ///< of `sent`, unless it is the user's
  std::span<float> out{};               ///< pull, make_key
  std::function<void()> give_back{};    ///< push: returns its gradient to the residual, when it is refused

  /// Ends it unserved. What was to be pushed is not lost.
  void refuse(const Error& error) const {
    if (give_back) give_back();
    if (operation) operation->fail_one(error);
  }
};

}  // namespace gradwire::server
