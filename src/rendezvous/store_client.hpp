#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "base/socket_address.hpp"
#include "base/unique_fd.hpp"
#include "gradwire/store.hpp"
#include "rendezvous/store_protocol.hpp"
#include "rendezvous/store_socket.hpp"
#include "rendezvous/store_url.hpp"

namespace gradwire::rendezvous {

/// The store as the other ranks see it: rank 0's, over TCP or a Unix socket. Thread-safe: each call has a
/// connection to itself while it lasts, so a get that waits holds up nobody.
class StoreClient final : public Store {
 public:
  /// Looks for the job's server until `timeout` is over. Throws Error: timeout, version_mismatch.
  StoreClient(const StoreUrl& url, int rank, std::chrono::milliseconds timeout);

  void set(const std::string& key, const std::string& value) override;
  std::optional<std::string> get(const std::string& key, std::chrono::milliseconds timeout) override;

 private:
  std::optional<std::string> exchange(const Request& request);
  base::UniqueFd take_connection();
  [[noreturn]] void lost() const;

  const std::string url_;
  StoreHello hello_;
  base::SocketAddress server_;
  std::mutex mutex_;
  std::vector<base::UniqueFd> idle_;  ///< guarded by mutex_
};

}  // namespace gradwire::rendezvous
