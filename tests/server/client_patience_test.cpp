#include "server/client_patience.hpp"

#include <gtest/gtest.h>

namespace gradwire::server {
namespace {

using std::chrono::milliseconds;
using Clock = ClientPatience::Clock;

constexpr milliseconds kTimeout{1000};

/// So that whatever is noted from now on is noted later.
void let_the_clock_tick() {
  const auto now = Clock::now();
  while (Clock::now() == now) {
  }
}

TEST(ClientPatience, IsOverATimeoutAfterTheLastAnswer) {
  ClientPatience patience(kTimeout);
  const auto first = patience.end();
  let_the_clock_tick();
  patience.note_answer();
  EXPECT_GT(patience.end(), first);
  EXPECT_FALSE(patience.is_over(patience.end()));
  EXPECT_TRUE(patience.is_over(patience.end() + Clock::duration(1)));
}

TEST(ClientPatience, DoesNotRunWhereNothingIsAsked) {
  ClientPatience patience(kTimeout);
  const auto later = Clock::now() + 10 * kTimeout;
  patience.note_idle(later);
  EXPECT_EQ(patience.end(), later + kTimeout);
}

TEST(ClientPatience, CountsNothingTwiceThatIsSentOverSeveralConnections) {
  ClientPatience patience(kTimeout);
  patience.begin_connection();
  patience.note_bytes(100);
  const auto reached = patience.end();
  for (int i = 0; i < 3; ++i) {
    patience.begin_connection();
    let_the_clock_tick();
    patience.note_bytes(60);
    patience.note_bytes(40);
    EXPECT_EQ(patience.end(), reached);
  }
  patience.note_bytes(1);
  EXPECT_GT(patience.end(), reached);
  // After an answer all begins anew.
  patience.note_answer();
  const auto answered = patience.end();
  let_the_clock_tick();
  patience.note_bytes(1);
  EXPECT_GT(patience.end(), answered);
}

TEST(ClientPatience, PausesLongerUntilThereIsAnAnswer) {
  ClientPatience patience(kTimeout);
  patience.connection_lost("the server is gone");
  EXPECT_EQ(patience.lost_by(), "the server is gone");
  for (const int expected : {1, 2, 4, 8, 16, 32, 64, 128, 200, 200}) {
    EXPECT_EQ(patience.take_pause(), milliseconds(expected));
  }
  patience.note_answer();
  EXPECT_EQ(patience.take_pause(), milliseconds(1));
  EXPECT_EQ(patience.lost_by(), "");
}

}  // namespace
}  // namespace gradwire::server
