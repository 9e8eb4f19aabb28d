#pragma once

#include <memory>
#include <string>

#include "transport/transport.hpp"

namespace gradwire::transport {

/// Whether this build can use UCX, where it is installed.
[[nodiscard]] bool has_ucx() noexcept;

/// For people: the version of UCX that this host has, or why it cannot be used.
[[nodiscard]] std::string ucx_information();

/// connect() over UCX, which chooses by itself what joins two ranks. Throws also Error(unsupported): this
/// build or this host has no UCX, or it finds no way to a peer.
std::unique_ptr<Endpoint> connect_ucx(const EndpointOptions& options, Store& store);

}  // namespace gradwire::transport
