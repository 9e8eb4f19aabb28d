#include "transport/ucx/ucx_library.hpp"

#include <fmt/format.h>
#include <ucp/api/ucp_version.h>

#include <array>
#include <csignal>

#include "base/shared_library.hpp"

namespace gradwire::transport {
namespace {

constexpr const char* kAdvice = "install UCX on this host, or use auto, shm or tcp";

/// A library does not print, and leaves signals to the program. Whoever sets UCX_LOG_LEVEL wants to read on.
/// These functions are not of UCX's public interface: where they are missing, UCX stays as it is.
void calm(const base::SharedLibrary& library) {
  using GetOption = ucs_status_t (*)(const char* name, char* value, std::size_t most);
  using SetOption = ucs_status_t (*)(const char* name, const char* value);
  using DisableSignal = void (*)(int signal);
  const auto get_option = library.look_up<GetOption>("ucs_global_opts_get_value");
  const auto set_option = library.look_up<SetOption>("ucs_global_opts_set_value");
  const auto disable_signal = library.look_up<DisableSignal>("ucs_debug_disable_signal");
  if (get_option != nullptr && set_option != nullptr) {
    std::array<char, 64> level{};
    const bool is_known = get_option("LOG_LEVEL", level.data(), level.size()) == UCS_OK;
    if (is_known && (level[0] == 'W' || level[0] == 'w')) set_option("LOG_LEVEL", "fatal");
  }
  if (disable_signal == nullptr) return;
  for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE}) disable_signal(signal);
}

}  // namespace

const UcxLibrary& UcxLibrary::get() {
  static const UcxLibrary library("libucp.so.0");
  return library;
}

UcxLibrary::UcxLibrary(const char* file) {
  const base::SharedLibrary library(file, "UCX", kAdvice);
  library.find("ucp_get_version", get_version);
  unsigned major = 0;
  unsigned minor = 0;
  unsigned release = 0;
  get_version(&major, &minor, &release);
  if (major != UCP_API_MAJOR || minor < UCP_API_MINOR) {
    throw Error(ErrorCode::unsupported,
                fmt::format("UCX is of version {}.{}.{} here, and gradwire was built for {}.{} or later",
                            major, minor, release, UCP_API_MAJOR, UCP_API_MINOR),
                kAdvice);
  }
  library.find("ucp_config_read", config_read);
  library.find("ucp_config_modify", config_modify);
  library.find("ucp_config_release", config_release);
  library.find("ucp_init_version", init_version);
  library.find("ucp_cleanup", cleanup);
  library.find("ucp_worker_create", worker_create);
  library.find("ucp_worker_destroy", worker_destroy);
  library.find("ucp_worker_get_address", worker_get_address);
  library.find("ucp_worker_release_address", worker_release_address);
  library.find("ucp_worker_get_efd", worker_get_efd);
  library.find("ucp_worker_arm", worker_arm);
  library.find("ucp_worker_progress", worker_progress);
  library.find("ucp_worker_set_am_recv_handler", worker_set_am_recv_handler);
  library.find("ucp_ep_create", ep_create);
  library.find("ucp_ep_close_nbx", ep_close_nbx);
  library.find("ucp_ep_flush_nbx", ep_flush_nbx);
  library.find("ucp_am_send_nbx", am_send_nbx);
  library.find("ucp_am_recv_data_nbx", am_recv_data_nbx);
  library.find("ucp_am_data_release", am_data_release);
  library.find("ucp_request_check_status", request_check_status);
  library.find("ucp_request_free", request_free);
  library.find("ucs_status_string", status_string);
  calm(library);
}

std::string UcxLibrary::version() const {
  unsigned major = 0;
  unsigned minor = 0;
  unsigned release = 0;
  get_version(&major, &minor, &release);
  return fmt::format("{}.{}.{}", major, minor, release);
}

Error UcxLibrary::error(const std::string& happened, ucs_status_t status) const {
  if (status == UCS_ERR_NO_MEMORY) {
    return {ErrorCode::system, happened + ": out of memory", "free memory, then try again"};
  }
  return {
      ErrorCode::unsupported, fmt::format("{}: {}", happened, status_string(status)),
      "see what UCX_TLS and UCX_NET_DEVICES allow (UCX_LOG_LEVEL=info says more), or use auto, shm or tcp"};
}

}  // namespace gradwire::transport
