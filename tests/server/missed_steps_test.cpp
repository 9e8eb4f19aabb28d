#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <thread>

#include "expect_error.hpp"
#include "scripted_server.hpp"
#include "server_calls.hpp"

// A worker whose connection was lost for longer than its lease, so that the servers went on without it.
namespace gradwire::server {
namespace {

constexpr std::size_t kCount = 100;

/// One with the key "key", and its client in bf16.
class MissedSteps : public testing::Test {
 protected:
  MissedSteps() {
    options_ = server_.client();
    options_.push_codec = "bf16";
  }

  struct Worker {
    ParameterServerClient client;
    Floats value = Floats(kCount);
    Floats gradient = Floats(kCount, 3.0F);
  };
  [[nodiscard]] Worker begin() const {
    Worker worker{.client = ParameterServerClient(options_)};
    worker.client.init("key", worker.value);
    return worker;
  }

  void let_in(std::uint64_t clock, std::uint64_t incarnation = 1) {
    server_.await_caller();
    server_.take<Join>();
    server_.answer(Joined{.incarnation = incarnation,
                          .clock = clock,
                          .sequence = taken_,
                          .lease_ms = 3'600'000,
                          .shards = has_key_ ? 1U : 0U,
                          .origin = 1});
  }
  void make_key() {
    const auto make = server_.take<MakeKey>();
    server_.answer(KeyMade{.request = make.request, .count = kCount}, plain_body(), plain(Floats(kCount)));
    has_key_ = true;
  }
  Push take_push() {
    const auto push = server_.take<Push>();
    server_.skip({bf16_.get(), 0, kCount, 1});
    return push;
  }
  void answer_pull() {
    const auto pull = server_.take<Pull>();
    server_.answer(Pulled{.request = pull.request, .version = 1, .whole = true}, plain_body(),
                   plain(Floats(kCount, 7.0F)));
  }
  void let_go() {
    server_.take<Leave>();
    server_.answer(Accepted{});
    server_.await_departure();
  }
  [[nodiscard]] Body plain_body() const { return {&server_.plain(), 0, kCount, 1}; }

  ScriptedServer server_;
  ParameterServerClientOptions options_;
  const std::shared_ptr<const compress::Codec> bf16_ = compress::make_codec("bf16");
  std::uint64_t taken_ = 0;
  bool has_key_ = false;
  std::promise<void> told_;       ///< the client's user
  std::promise<void> went_back_;  ///< the server has
};

TEST_F(MissedSteps, RefuseAllThatBelongsToThemUntilTheWorkerJoinsAgain) {
  std::thread script([&] {
    let_in(0);
    make_key();
    EXPECT_EQ(take_push().clock, 0U);
    server_.take<Pull>();
    server_.take<Advance>();
    server_.hang_up();
    let_in(5);
    server_.await_departure();
    let_in(5);
    EXPECT_EQ(server_.take<Advance>().clock, 1U) << "what it said before counts no more";
    EXPECT_EQ(server_.take<Advance>().clock, 5U);
    const auto push = take_push();
    EXPECT_EQ(push.clock, 5U);
    EXPECT_EQ(push.sequence, 3U);
    server_.answer(Accepted{.sequence = push.sequence});
    answer_pull();
    let_go();
  });
  {
    Worker worker = begin();
    Work lost = worker.client.push_pull("key", worker.gradient, worker.value);
    worker.client.clock();
    expect_error(ErrorCode::peer_lost, "went on without it, to step 5", [&] { lost.wait(); });
    EXPECT_EQ(worker.client.residual("key"), worker.gradient) << "nothing of it is lost";
    EXPECT_EQ(worker.client.now(), 1U) << "the user has to be told first";
    expect_error(ErrorCode::peer_lost, "join again",
                 [&] { worker.client.push("key", worker.gradient).wait(); });
    expect_error(ErrorCode::peer_lost, "join again", [&] { worker.client.pull("key", worker.value).wait(); });
    EXPECT_EQ(worker.client.residual("key"), Floats(kCount, 6.0F));
    worker.client.rejoin();
    EXPECT_EQ(worker.client.now(), 5U);
    worker.client.push("key", worker.gradient).wait();
    worker.client.pull("key", worker.value).wait();
    EXPECT_EQ(worker.value, Floats(kCount, 7.0F));
    EXPECT_EQ(worker.client.report().lost_pushes, 0U);
  }
  script.join();
}

/// The others have finished this worker's step and no more: its push was never taken, though it has said
/// since that the step is over.
TEST_F(MissedSteps, MayBeAsManyAsTheWorkerHasFinished) {
  std::thread script([&] {
    let_in(0);
    make_key();
    EXPECT_EQ(take_push().clock, 0U);
    server_.take<Advance>();
    server_.hang_up();
    let_in(1);
    server_.await_departure();
    let_in(1);
    EXPECT_EQ(take_push().clock, 1U);
    server_.answer(Accepted{.sequence = 2});
    let_go();
  });
  {
    Worker worker = begin();
    Work lost = worker.client.push("key", worker.gradient);
    worker.client.clock();
    expect_error(ErrorCode::peer_lost, "to step 1", [&] { lost.wait(); });
    EXPECT_EQ(worker.client.residual("key"), worker.gradient);
    worker.client.rejoin();
    EXPECT_EQ(worker.client.now(), 1U);
    worker.client.push("key", worker.gradient).wait();
  }
  script.join();
}

TEST_F(MissedSteps, AreForgottenByAServerThatGoesOnFromBefore) {
  std::thread script([&] {
    let_in(0);
    make_key();
    EXPECT_EQ(take_push().clock, 0U);
    server_.hang_up();
    let_in(5);
    auto is_told = told_.get_future();
    server_.wait_until(
        [&] { return is_told.wait_for(std::chrono::seconds(0)) == std::future_status::ready; });
    server_.hang_up();
    let_in(3, 2);
    went_back_.set_value();
    server_.await_departure();
    let_in(3, 2);
    EXPECT_EQ(server_.take<Advance>().clock, 3U);
    EXPECT_EQ(take_push().clock, 3U);
    server_.answer(Accepted{.sequence = 2});
    answer_pull();
    let_go();
  });
  {
    Worker worker = begin();
    expect_error(ErrorCode::peer_lost, "to step 5",
                 [&] { worker.client.push("key", worker.gradient).wait(); });
    told_.set_value();
    went_back_.get_future().wait();
    worker.client.rejoin();
    EXPECT_EQ(worker.client.now(), 3U);
    worker.client.push("key", worker.gradient).wait();
    worker.client.pull("key", worker.value).wait();
    EXPECT_EQ(worker.value, Floats(kCount, 7.0F));
  }
  script.join();
}

TEST_F(MissedSteps, AreNoneWhereTheServersHadHeardOfThem) {
  std::thread script([&] {
    let_in(0);
    make_key();
    server_.take<Pull>();
    EXPECT_EQ(server_.take<Advance>().clock, 1U);
    server_.hang_up();
    let_in(1);
    answer_pull();
    let_go();
  });
  {
    Worker worker = begin();
    Work pull = worker.client.pull("key", worker.value);
    worker.client.clock();
    pull.wait();
    EXPECT_EQ(worker.value, Floats(kCount, 7.0F));
  }
  script.join();
}

}  // namespace
}  // namespace gradwire::server
