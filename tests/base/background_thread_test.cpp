#include "base/background_thread.hpp"

#include <gtest/gtest.h>
#include <pthread.h>

#include <csignal>

namespace gradwire::base {
namespace {

bool is_blocked_here(int signal) {
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  return sigismember(&mask, signal) == 1;
}

TEST(BackgroundThread, TakesNoSignalsAndLeavesItsCreatorsAlone) {
  bool blocked = false;
  start_background_thread("a test's thread", [&] {
    blocked = is_blocked_here(SIGTERM) && is_blocked_here(SIGINT) && is_blocked_here(SIGUSR1);
  }).join();
  EXPECT_TRUE(blocked);
  EXPECT_FALSE(is_blocked_here(SIGTERM));
}

}  // namespace
}  // namespace gradwire::base
