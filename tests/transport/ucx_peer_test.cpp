#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "directory_store.hpp"
#include "mesh.hpp"
#include "transport/address_record.hpp"
#include "transport/host_identity.hpp"
#include "transport/link_end.hpp"
#include "transport/ucx/ucx_worker.hpp"

// Peers over UCX that send what no correct peer sends.

namespace gradwire::transport {
namespace {

using std::chrono::seconds;

constexpr std::uint64_t kToken = 4711;

std::string key(int rank) { return "gradwire/conformance/7/address/" + std::to_string(rank); }

/// Rank 1 of two, by hand.
class Imitation : private UcxReceiver {
 public:
  explicit Imitation(DirectoryStore& store) : worker_(2, kToken) {
    worker_.attach(0, *this);
    AddressRecord own;
    own.world_size = 2;
    own.token = kToken;
    own.host = host_identity();
    own.group = own.host;
    own.ucx_version = worker_.library().version();
    own.ucx_address = worker_.address();
    store.set(key(1), write_record(own));
    const auto bytes = store.get(key(0), kSoon);
    const auto record = read_record(bytes.value(), 0, options_for({"ucx", "ucx"}, 1, 2));
    token_of_0_ = record.token;
    EXPECT_EQ(worker_.open(0, record.ucx_address), UCS_OK);
    say(envelope(UcxKind::hello));
    run_until([this] { return is_heard_; });
    const std::string ready = "gradwire/conformance/7/ucx/ready/";
    store.set(ready + "1", std::to_string(kToken));
    run_until([&] { return store.get(ready + "0", std::chrono::milliseconds{0}).has_value(); });
  }
  ~Imitation() { worker_.leave(0); }

  [[nodiscard]] UcxEnvelope envelope(UcxKind kind) const {
    UcxEnvelope envelope;
    envelope.kind = kind;
    envelope.sender = 1;
    envelope.sender_token = kToken;
    envelope.receiver_token = token_of_0_;
    return envelope;
  }

  void say(const UcxEnvelope& envelope) {
    std::array<std::byte, kEnvelopeBytes> head;
    write_envelope(envelope, head);
    send(head, {});
  }

  /// `damage` may change what is sent.
  void send_frame(const UcxEnvelope& envelope, std::size_t payload_bytes,
                  const std::function<void(std::span<std::byte>)>& damage = {}) {
    std::array<std::byte, kUcxHeadBytes> head;
    write_envelope(envelope, std::span(head).first<kEnvelopeBytes>());
    auto header = header_for(1, 0, envelope.number);
    header.payload_bytes = 100;
    wire::write_header(header, std::span(head).last<wire::kHeaderBytes>());
    if (damage) damage(head);
    send(head, payload_for(1, 0, envelope.number, payload_bytes));
  }

  template <typename Condition>
  void run_until(Condition condition) {
    const auto deadline = Clock::now() + kSoon;
    while (!condition()) {
      ASSERT_LT(Clock::now(), deadline);
      if (!worker_.advance()) std::this_thread::yield();
    }
  }

 private:
  void send(std::span<const std::byte> head, std::span<const std::byte> payload) {
    auto request = worker_.send(0, head, payload);
    run_until([&] { return !request.is_under_way(); });
  }
  ucs_status_t on_message(const UcxEnvelope&, std::span<const std::byte>, const UcxData&) noexcept override {
    is_heard_ = true;
    return UCS_OK;
  }
  void on_failure(ucs_status_t) noexcept override {}

  UcxWorker worker_;
  std::uint64_t token_of_0_ = 0;
  bool is_heard_ = false;
};

/// Rank 0 is a real endpoint that waits for a frame; what it gets, or throws.
struct Outcome {
  std::optional<Received> frame;
  std::optional<Error> error;
};

Outcome meet(const std::function<void(Imitation&)>& imitate) {
  DirectoryStore store;
  Outcome outcome;
  std::atomic<bool> is_over{false};
  std::thread rank([&] {
    std::unique_ptr<Endpoint> endpoint;
    try {
      endpoint = connect(options_for({"ucx", "ucx"}, 0, 2), store);
      outcome.frame = receive(*endpoint, 1);
      endpoint->close(std::chrono::milliseconds(100));
    } catch (const Error& error) {
      outcome.error = endpoint ? endpoint->abort(error) : error;
    }
    is_over = true;
  });
  {
    Imitation imitation(store);
    imitate(imitation);
    imitation.run_until([&] { return is_over.load(); });
  }
  rank.join();
  return outcome;
}

void expect_corrupt(const std::string& what, const std::function<void(Imitation&)>& imitate) {
  const auto outcome = meet(imitate);
  ASSERT_TRUE(outcome.error) << what;
  EXPECT_EQ(outcome.error->code(), ErrorCode::corrupt_frame) << what << ": " << outcome.error->what();
  EXPECT_EQ(outcome.error->peer(), 1) << what;
}

TEST(UcxPeer, AFrameByHandArrives) {
  const auto outcome = meet([](Imitation& peer) { peer.send_frame(peer.envelope(UcxKind::frame), 100); });
  ASSERT_TRUE(outcome.frame) << outcome.error->what();
  EXPECT_EQ(outcome.frame->payload, payload_for(1, 0, 0, 100));
}

TEST(UcxPeer, FramesThatOvertakeArePutInOrder) {
  const auto outcome = meet([](Imitation& peer) {
    auto envelope = peer.envelope(UcxKind::frame);
    envelope.number = 1;
    peer.send_frame(envelope, 100);
    envelope.number = 0;
    peer.send_frame(envelope, 100);
  });
  ASSERT_TRUE(outcome.frame) << outcome.error->what();
  EXPECT_EQ(outcome.frame->payload, payload_for(1, 0, 0, 100));
}

TEST(UcxPeer, StrangersAndEarlierRunsAreNotHeard) {
  const auto outcome = meet([](Imitation& peer) {
    auto stranger = peer.envelope(UcxKind::frame);
    stranger.sender_token = kToken + 1;
    peer.send_frame(stranger, 7);
    stranger = peer.envelope(UcxKind::frame);
    ++stranger.receiver_token;
    peer.send_frame(stranger, 7);
    stranger = peer.envelope(UcxKind::frame);
    for (const std::uint32_t rank : {0U, 2U, 0xFFFFFFFFU}) {
      stranger.sender = rank;
      peer.send_frame(stranger, 7);
    }
    peer.say(peer.envelope(static_cast<UcxKind>(99)));
    peer.send_frame(peer.envelope(UcxKind::frame), 100);
  });
  ASSERT_TRUE(outcome.frame) << outcome.error->what();
  EXPECT_EQ(outcome.frame->payload, payload_for(1, 0, 0, 100));
}

TEST(UcxPeer, GarbageIsACorruptFrameOfThePeer) {
  expect_corrupt("a damaged header", [](Imitation& peer) {
    peer.send_frame(peer.envelope(UcxKind::frame), 100, [](auto head) { head[60] ^= std::byte{1}; });
  });
  for (const std::size_t size : {0, 99, 101, 60000}) {
    expect_corrupt("another length than announced",
                   [size](Imitation& peer) { peer.send_frame(peer.envelope(UcxKind::frame), size); });
  }
  for (const std::uint64_t number : {std::uint64_t{16}, std::uint64_t{1} << 40U, ~std::uint64_t{0}}) {
    expect_corrupt("a number out of turn", [number](Imitation& peer) {
      auto envelope = peer.envelope(UcxKind::frame);
      envelope.number = number;
      peer.send_frame(envelope, 100);
    });
  }
  expect_corrupt("a number that came before", [](Imitation& peer) {
    auto envelope = peer.envelope(UcxKind::frame);
    envelope.number = 1;
    peer.send_frame(envelope, 100);
    peer.send_frame(envelope, 100);
  });
  expect_corrupt("credit for what was never sent", [](Imitation& peer) {
    auto envelope = peer.envelope(UcxKind::credit);
    envelope.taken = 1;
    peer.say(envelope);
  });
  expect_corrupt("an end that is none", [](Imitation& peer) { peer.say(peer.envelope(UcxKind::end)); });
}

TEST(UcxPeer, WhatFollowsAGoodbyeIsGarbage) {
  expect_corrupt("a frame beyond the last", [](Imitation& peer) {
    auto envelope = peer.envelope(UcxKind::end);
    LinkEnd goodbye;
    goodbye.kind = LinkEnd::Kind::goodbye;
    envelope.end = goodbye.to_word();
    envelope.number = 1;
    peer.say(envelope);
    envelope = peer.envelope(UcxKind::frame);
    envelope.number = 1;
    peer.send_frame(envelope, 100);
  });
}

TEST(UcxPeer, AnEndThatMakesNoSenseIsADeath) {
  const auto outcome = meet([](Imitation& peer) {
    auto envelope = peer.envelope(UcxKind::end);
    envelope.end = 0x77;
    peer.say(envelope);
  });
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(outcome.error->code(), ErrorCode::peer_lost) << outcome.error->what();
  EXPECT_EQ(outcome.error->peer(), 1);
}

}  // namespace
}  // namespace gradwire::transport
