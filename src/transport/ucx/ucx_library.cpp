#include "transport/ucx/ucx_library.hpp"

#include <dlfcn.h>
#include <fmt/format.h>
#include <ucp/api/ucp_version.h>

#include <array>
#include <csignal>

namespace gradwire::transport {
namespace {

constexpr const char* kAdvice = "install UCX on this host, or use auto, shm or tcp";

/// Never closed: UCX has threads and exit handlers of its own.
void* open_library(const char* file) {
  void* const handle = ::dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* const why = ::dlerror();
    throw Error(ErrorCode::unsupported, fmt::format("UCX cannot be loaded: {}", why != nullptr ? why : file),
                kAdvice);
  }
  return handle;
}

template <typename Function>
void find(void* handle, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(handle, name));
  if (function == nullptr) {
    throw Error(ErrorCode::unsupported, fmt::format("the UCX of this host lacks {}", name), kAdvice);
  }
}

/// A library does not print, and leaves signals to the program. Whoever sets UCX_LOG_LEVEL wants to read on.
/// These functions are not of UCX's public interface: where they are missing, UCX stays as it is.
void calm(void* handle) {
  using GetOption = ucs_status_t (*)(const char* name, char* value, std::size_t most);
  using SetOption = ucs_status_t (*)(const char* name, const char* value);
  using DisableSignal = void (*)(int signal);
  const auto get_option = reinterpret_cast<GetOption>(::dlsym(handle, "ucs_global_opts_get_value"));
  const auto set_option = reinterpret_cast<SetOption>(::dlsym(handle, "ucs_global_opts_set_value"));
  const auto disable_signal = reinterpret_cast<DisableSignal>(::dlsym(handle, "ucs_debug_disable_signal"));
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
  void* const handle = open_library(file);
  find(handle, "ucp_get_version", get_version);
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
  find(handle, "ucp_config_read", config_read);
  find(handle, "ucp_config_modify", config_modify);
  find(handle, "ucp_config_release", config_release);
  find(handle, "ucp_init_version", init_version);
  find(handle, "ucp_cleanup", cleanup);
  find(handle, "ucp_worker_create", worker_create);
  find(handle, "ucp_worker_destroy", worker_destroy);
  find(handle, "ucp_worker_get_address", worker_get_address);
  find(handle, "ucp_worker_release_address", worker_release_address);
  find(handle, "ucp_worker_get_efd", worker_get_efd);
  find(handle, "ucp_worker_arm", worker_arm);
  find(handle, "ucp_worker_progress", worker_progress);
  find(handle, "ucp_worker_set_am_recv_handler", worker_set_am_recv_handler);
  find(handle, "ucp_ep_create", ep_create);
  find(handle, "ucp_ep_close_nbx", ep_close_nbx);
  find(handle, "ucp_ep_flush_nbx", ep_flush_nbx);
  find(handle, "ucp_am_send_nbx", am_send_nbx);
  find(handle, "ucp_am_recv_data_nbx", am_recv_data_nbx);
  find(handle, "ucp_am_data_release", am_data_release);
  find(handle, "ucp_request_check_status", request_check_status);
  find(handle, "ucp_request_free", request_free);
  find(handle, "ucs_status_string", status_string);
  calm(handle);
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
