#include "rendezvous/serve_store.hpp"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "base/stream_socket.hpp"
#include "base/system_error.hpp"
#include "gradwire/error.hpp"
#include "rendezvous/store_server.hpp"
#include "rendezvous/store_url.hpp"

namespace gradwire::rendezvous {
namespace {

ServedStore serve(const base::SocketAddress& address, StoreUrl url, const std::string& job) {
  int error = 0;
  std::vector<base::UniqueFd> listeners;
  listeners.push_back(base::listen_at(address, error));
  if (!listeners.front()) {
    throw Error(ErrorCode::system, fmt::format("rank 0 cannot serve a store: {}", base::errno_text(error)),
                "name an interface that leads to the other hosts with GRADWIRE_INTERFACE");
  }
  const bool is_local = url.scheme == StoreUrl::Scheme::unix_socket;
  if (!is_local) {
    base::SocketAddress bound;
    bound.size = sizeof bound.storage;
    if (::getsockname(listeners.front().get(), bound.get(), &bound.size) != 0) {
      throw base::system_error("rank 0 cannot tell where it serves a store");
    }
    url.port = bound.port();
  }
  url.job = job;
  return {std::make_shared<StoreServer>(std::move(listeners), job, is_local), url.text()};
}

}  // namespace

ServedStore serve_store(const base::SocketAddress& address, const std::string& job) {
  StoreUrl url;
  url.scheme = StoreUrl::Scheme::tcp;
  url.place = address.host();
  return serve(address.with_port(0), url, job);
}

ServedStore serve_store(const std::string& socket_name, const std::string& job) {
  StoreUrl url;
  url.scheme = StoreUrl::Scheme::unix_socket;
  url.place = socket_name;
  return serve(base::abstract_address(socket_name), url, job);
}

}  // namespace gradwire::rendezvous
