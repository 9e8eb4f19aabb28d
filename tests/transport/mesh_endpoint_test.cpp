#include "transport/mesh_endpoint.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

#include "base/unique_fd.hpp"

// What an endpoint makes of what its links tell.

namespace gradwire::transport {
namespace {

using std::chrono::milliseconds;

/// A link that carries nothing, and ends as a test says.
class FakeLink final : public PeerLink {
 public:
  explicit FakeLink(int peer) : PeerLink(peer) {}

  /// Its peer's process is gone, as its descriptor or a look finds out.
  void die() noexcept { peer_end_.kind = LinkEnd::Kind::died; }
  void die_at_look(int look) noexcept { dies_at_ = looks_ + look; }
  void abort(const Error& cause) noexcept { peer_end_ = blame(cause, peer()); }
  void watch(int descriptor) noexcept { descriptor_ = descriptor; }
  /// Where it writes what happens to it.
  void tell(std::vector<std::string>& events) noexcept { events_ = &events; }

  bool try_send(const wire::Header&, std::span<const std::byte>) override { return false; }
  [[nodiscard]] std::uint64_t completed() const noexcept override { return 0; }
  const Frame* front() override { return nullptr; }
  void pop() override {}
  [[nodiscard]] std::uint64_t wire_bytes_sent() const noexcept override { return 0; }
  [[nodiscard]] const char* kind() const noexcept override { return "fake"; }
  bool advance(Clock::time_point) override {
    if (++looks_ == dies_at_) die();
    return looks_ == dies_at_;
  }
  [[nodiscard]] bool has_news(Clock::time_point) noexcept override { return false; }
  [[nodiscard]] Clock::time_point due(Clock::time_point) const noexcept override {
    return Clock::time_point::max();
  }
  void announce_sleep() noexcept override {}
  void announce_awake() noexcept override {}
  [[nodiscard]] bool needs_events() const noexcept override { return false; }
  void on_events(std::size_t, std::uint32_t) noexcept override { die(); }
  [[nodiscard]] std::vector<int> descriptors() const override {
    return descriptor_ < 0 ? std::vector<int>() : std::vector<int>{descriptor_};
  }
  void send_end(const LinkEnd& end) noexcept override {
    if (events_ != nullptr) events_->push_back(end.kind == LinkEnd::Kind::died ? "died" : "other end");
  }
  [[nodiscard]] bool is_flushed() noexcept override { return peer_end_.kind != LinkEnd::Kind::open; }
  void shut() noexcept override {
    if (events_ != nullptr) events_->emplace_back("shut");
  }

 private:
  std::vector<std::string>* events_ = nullptr;
  int descriptor_ = -1;
  int looks_ = 0;
  int dies_at_ = -1;
};

/// Rank 3 of four.
struct World {
  World() {
    for (int peer = 0; peer < 3; ++peer) {
      auto link = std::make_unique<FakeLink>(peer);
      fakes.push_back(link.get());
      links.push_back(std::move(link));
    }
    links.emplace_back();
  }
  /// Once links are as they have to be.
  [[nodiscard]] std::unique_ptr<MeshEndpoint> connect() {
    return std::make_unique<MeshEndpoint>(3, std::move(links), std::make_shared<const Doorbell>(),
                                          Patience::yield);
  }
  FakeLink& operator[](int peer) { return *fakes[static_cast<std::size_t>(peer)]; }

  std::vector<std::unique_ptr<PeerLink>> links;
  std::vector<FakeLink*> fakes;
};

Error thrown_by_progress(Endpoint& endpoint) {
  try {
    for (int calls = 0; calls < 100; ++calls) endpoint.progress();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error";
  return {ErrorCode::system, "none", ""};
}

TEST(MeshEndpoint, ADeathFoundOutStaysTheCauseWhenAMessengerGoes) {
  World world;
  const auto endpoint = world.connect();
  world[2].die_at_look(1);
  const Error cause = thrown_by_progress(*endpoint);
  ASSERT_EQ(cause.peer(), 2);
  // Rank 0 has told whom it knew of, and is gone before it is heard here.
  world[0].die_at_look(3);
  const Error error = endpoint->abort(cause);
  EXPECT_EQ(error.code(), ErrorCode::peer_lost);
  EXPECT_EQ(error.peer(), 2) << error.what();
}

TEST(MeshEndpoint, ADeathThatOthersBlameOutweighsWhatWasFoundOut) {
  World world;
  const auto endpoint = world.connect();
  world[2].die_at_look(1);
  const Error cause = thrown_by_progress(*endpoint);
  world[0].die_at_look(1);
  world[1].abort({ErrorCode::peer_lost, "planted", "", 0});
  EXPECT_EQ(endpoint->abort(cause).peer(), 0);
}

TEST(MeshEndpoint, ADeathExplainsATimeout) {
  World world;
  const auto endpoint = world.connect();
  world[1].die_at_look(3);
  const Error error = endpoint->abort({ErrorCode::timeout, "planted", "", 3});
  EXPECT_EQ(error.code(), ErrorCode::peer_lost);
  EXPECT_EQ(error.peer(), 1);
}

/// What the last words to one peer take is not to be added up over all.
TEST(MeshEndpoint, ThatIsDroppedTellsAllPeersBeforeItWaitsForAny) {
  std::vector<std::string> events;
  World world;
  for (FakeLink* link : world.fakes) link->tell(events);
  world.connect().reset();
  EXPECT_THAT(events, testing::ElementsAre("died", "died", "died", "shut", "shut", "shut"));
}

TEST(MeshEndpoint, ThatWasClosedSaysNothingMore) {
  std::vector<std::string> events;
  World world;
  for (FakeLink* link : world.fakes) link->tell(events);
  const auto endpoint = world.connect();
  endpoint->close(milliseconds(1));
  events.clear();
  endpoint->close(milliseconds(1));
  EXPECT_THAT(events, testing::IsEmpty());
}

/// A rank that polls must not depend on how often it does.
TEST(MeshEndpoint, ASlowPollerLooksAtDescriptorsInTime) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const base::UniqueFd read_end(ends[0]);
  base::UniqueFd write_end(ends[1]);
  World world;
  world[1].watch(read_end.get());
  const auto endpoint = world.connect();
  endpoint->progress();
  write_end.reset();
  int calls = 0;
  try {
    while (++calls < 100) {
      std::this_thread::sleep_for(milliseconds(2));
      endpoint->progress();
    }
  } catch (const Error& error) {
    EXPECT_EQ(error.peer(), 1);
  }
  EXPECT_LT(calls, 100);
}

}  // namespace
}  // namespace gradwire::transport
