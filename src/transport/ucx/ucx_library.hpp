#pragma once

#include <ucp/api/ucp.h>

#include <string>

#include "gradwire/error.hpp"

namespace gradwire::transport {

/// UCX's functions, under their names without prefix, in libraries that are loaded when they are first asked
/// for: a program that uses other transports runs on hosts without UCX, and is spared its signal handlers.
/// Thread-safe.
class UcxLibrary {
 public:
  /// As it is installed on this host, loaded by the first call.
  static const UcxLibrary& get();
  /// Throws Error(unsupported) where the file cannot be loaded, or is no UCX of a version that this build can
  /// use.
  explicit UcxLibrary(const char* file);

  /// "1.13.1".
  [[nodiscard]] std::string version() const;
  /// `happened`, and what UCX says about it.
  [[nodiscard]] Error error(const std::string& happened, ucs_status_t status) const;

  decltype(&::ucp_get_version) get_version = nullptr;
  decltype(&::ucp_config_read) config_read = nullptr;
  decltype(&::ucp_config_modify) config_modify = nullptr;
  decltype(&::ucp_config_release) config_release = nullptr;
  decltype(&::ucp_init_version) init_version = nullptr;
  decltype(&::ucp_cleanup) cleanup = nullptr;
  decltype(&::ucp_worker_create) worker_create = nullptr;
  decltype(&::ucp_worker_destroy) worker_destroy = nullptr;
  decltype(&::ucp_worker_get_address) worker_get_address = nullptr;
  decltype(&::ucp_worker_release_address) worker_release_address = nullptr;
  decltype(&::ucp_worker_get_efd) worker_get_efd = nullptr;
  decltype(&::ucp_worker_arm) worker_arm = nullptr;
  decltype(&::ucp_worker_progress) worker_progress = nullptr;
  decltype(&::ucp_worker_set_am_recv_handler) worker_set_am_recv_handler = nullptr;
  decltype(&::ucp_ep_create) ep_create = nullptr;
  decltype(&::ucp_ep_close_nbx) ep_close_nbx = nullptr;
  decltype(&::ucp_ep_flush_nbx) ep_flush_nbx = nullptr;
  decltype(&::ucp_am_send_nbx) am_send_nbx = nullptr;
  decltype(&::ucp_am_recv_data_nbx) am_recv_data_nbx = nullptr;
  decltype(&::ucp_am_data_release) am_data_release = nullptr;
  decltype(&::ucp_request_check_status) request_check_status = nullptr;
  decltype(&::ucp_request_free) request_free = nullptr;
  decltype(&::ucs_status_string) status_string = nullptr;
};

}  // namespace gradwire::transport
