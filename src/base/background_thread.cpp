#include "base/background_thread.hpp"

#include <fmt/format.h>
#include <pthread.h>

#include <csignal>
#include <system_error>
#include <utility>

#include "gradwire/error.hpp"

namespace gradwire::base {
namespace {

/// All of this thread's signals, while it lives: a new thread begins with those that its creator has blocked.
class BlockedSignals {
 public:
  BlockedSignals() noexcept {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace

std::thread start_background_thread(std::string_view name, std::function<void()> body) {
  const BlockedSignals blocked;
  try {
    return std::thread(std::move(body));
  } catch (const std::system_error& error) {
    throw Error(ErrorCode::system, fmt::format("cannot start {}: {}", name, error.what()),
                "raise the limit on processes (ulimit -u)");
  }
}

}  // namespace gradwire::base
