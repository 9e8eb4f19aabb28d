#include "server/messages.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <string>
#include <vector>

#include "gradwire/error.hpp"
#include "sample_messages.hpp"

namespace gradwire::server {
namespace {

using Bytes = std::vector<std::byte>;

/// Reads bytes and writes what they held.
using Again = std::function<Bytes(const Bytes&)>;

Bytes request_again(const Bytes& bytes) { return write_request(read_request(bytes, "worker 3")).bytes; }
Bytes answer_again(const Bytes& bytes) { return write_answer(read_answer(bytes, "server 1")).bytes; }

void for_every_message(const std::function<void(const std::string&, const Bytes&, const Again&)>& body) {
  for (const auto& [name, request] : sample_requests())
    body(name, write_request(request).bytes, request_again);
  for (const auto& [name, answer] : sample_answers()) body(name, write_answer(answer).bytes, answer_again);
}

/// Refused as corrupt, or else something that these bytes stand for.
void expect_sense(const Bytes& bytes, const Again& again) {
  try {
    ASSERT_EQ(again(bytes), bytes);
  } catch (const Error& error) {
    ASSERT_EQ(error.code(), ErrorCode::corrupt_frame) << error.what();
  }
}

TEST(Messages, KeepTheirFields) {
  const auto join =
      std::get<Join>(read_request(write_request(sample_requests()[0].second).bytes, "a worker"));
  EXPECT_EQ(join.session, 0x1122334455667788U);
  EXPECT_EQ(join.worker, 3U);
  EXPECT_EQ(join.workers, 4U);
  EXPECT_EQ(join.server, 1U);
  EXPECT_EQ(join.servers, 2U);
  EXPECT_EQ(join.consistency, (Consistency{Consistency::Mode::ssp, 3}));
  EXPECT_EQ(join.push_codec, "onebit:block=512");
  EXPECT_EQ(join.pull_codec, "bf16");

  const auto pull = std::get<Pull>(read_request(write_request(Pull{1, 2, 3, 4, 5}).bytes, "a worker"));
  EXPECT_EQ(pull.request, 1U);
  EXPECT_EQ(pull.shard, 2U);
  EXPECT_EQ(pull.clock, 3U);
  EXPECT_EQ(pull.incarnation, 4U);
  EXPECT_EQ(pull.version, 5U);

  const auto refused =
      std::get<Refused>(read_answer(write_answer(sample_answers()[5].second).bytes, "a server"));
  EXPECT_EQ(refused.verb, Verb::push);
  EXPECT_EQ(refused.request, 12U);
  EXPECT_EQ(refused.code, ErrorCode::peer_lost);
  EXPECT_EQ(refused.happened, "the lease of worker 3 is over");
  EXPECT_EQ(refused.advice, "join again");
}

TEST(Messages, CarryTheNumberOfWhatTheyAreAbout) {
  EXPECT_EQ(write_request(Join{}).number, 0U);
  EXPECT_EQ(write_request(MakeKey{.request = 4, .key = "k", .optimizer = "sgd"}).number, 4U);
  EXPECT_EQ(write_request(Push{.sequence = 5}).number, 5U);
  EXPECT_EQ(write_request(Pull{.request = 6}).number, 6U);
  EXPECT_EQ(write_request(Advance{7}).number, 0U);
  EXPECT_EQ(write_answer(Joined{.sequence = 8}).number, 0U);
  EXPECT_EQ(write_answer(KeyMade{.request = 9}).number, 9U);
  EXPECT_EQ(write_answer(Accepted{10}).number, 10U);
  EXPECT_EQ(write_answer(Pulled{.request = 11}).number, 11U);
  EXPECT_EQ(write_answer(Refused{Verb::push, 12, ErrorCode::system, "", ""}).number, 12U);
}

TEST(Messages, AnyCutIsCorrupt) {
  for_every_message([](const std::string& name, const Bytes& bytes, const Again& again) {
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      const Bytes cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
      try {
        (void)again(cut);
        ADD_FAILURE() << name << " was let through with " << size << " bytes";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::corrupt_frame) << error.what();
      }
    }
    Bytes longer = bytes;
    longer.push_back(std::byte{0});
    EXPECT_THROW((void)again(longer), Error) << name;
  });
}

TEST(Messages, AnyChangedByteMakesSenseOrIsCorrupt) {
  for_every_message([](const std::string& name, const Bytes& bytes, const Again& again) {
    SCOPED_TRACE(name);
    Bytes changed = bytes;
    for (std::size_t at = 0; at < bytes.size(); ++at) {
      for (unsigned change = 1; change < 256; ++change) {
        changed[at] = bytes[at] ^ static_cast<std::byte>(change);
        expect_sense(changed, again);
      }
      changed[at] = bytes[at];
    }
  });
}

TEST(Messages, NoiseMakesSenseOrIsCorrupt) {
  std::mt19937 random(1);
  for (int i = 0; i < 20'000; ++i) {
    Bytes noise(1 + random() % 80);
    for (auto& byte : noise) byte = static_cast<std::byte>(random() % 3 == 0 ? random() : 0);
    noise[0] = static_cast<std::byte>(1 + random() % 7);
    expect_sense(noise, request_again);
    noise[0] = static_cast<std::byte>(65 + random() % 5);
    expect_sense(noise, answer_again);
  }
}

TEST(Messages, AnAnswerIsNoRequest) {
  for (const auto& [name, answer] : sample_answers())
    EXPECT_THROW((void)read_request(write_answer(answer).bytes, "worker 3"), Error) << name;
  for (const auto& [name, request] : sample_requests())
    EXPECT_THROW((void)read_answer(write_request(request).bytes, "server 1"), Error) << name;
}

TEST(Messages, ClocksThatSumsCouldOverflowAreCorrupt) {
  for (const std::uint64_t clock : {kMaxClock, kMaxClock + 1, ~std::uint64_t{0}}) {
    for (const Request& request : {Request(Push{.sequence = 1, .clock = clock}),
                                   Request(Pull{.clock = clock}), Request(Advance{clock})}) {
      const Head head = write_request(request);
      if (clock == kMaxClock) {
        EXPECT_EQ(read_request(head.bytes, "worker 3").index(), request.index());
      } else {
        EXPECT_THROW(static_cast<void>(read_request(head.bytes, "worker 3")), Error) << clock;
      }
    }
  }
}

TEST(Messages, TooLongTextIsRefusedBeforeItIsSent) {
  for (const std::size_t size : {std::size_t{0}, kMaxKeyBytes + 1, std::size_t{70'000}}) {
    try {
      (void)write_request(MakeKey{.key = std::string(size, 'k'), .optimizer = "sgd"});
      ADD_FAILURE() << size;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    }
  }
  EXPECT_THROW((void)write_request(Join{.push_codec = std::string(kMaxSpecBytes + 1, 'c')}), Error);
}

TEST(Messages, LongReasonsAreCut) {
  const auto head =
      write_answer(Refused{.happened = std::string(5000, 'h'), .advice = std::string(999, 'a')});
  const auto refused = std::get<Refused>(read_answer(head.bytes, "server 1"));
  EXPECT_EQ(refused.happened, std::string(kMaxReasonBytes, 'h'));
  EXPECT_EQ(refused.advice, std::string(999, 'a'));
}

TEST(Messages, ErrorsSayWhoSentWhat) {
  auto bytes = write_request(Push{.sequence = 1}).bytes;
  bytes.push_back(std::byte{0});
  try {
    (void)read_request(bytes, "worker 3");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()),
              "corrupt_frame: worker 3 sent a request \"push\" with 1 bytes after its end; "
              "run the same version of Gradwire everywhere");
  }
}

}  // namespace
}  // namespace gradwire::server
