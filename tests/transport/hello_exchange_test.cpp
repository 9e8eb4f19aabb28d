#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stranger.hpp"
#include "transport/rendezvous_keys.hpp"

// Ranks that find the wrong peers while they connect, and what both sides are told.

namespace gradwire::transport {
namespace {

TEST(GivenUp, WhateverAnotherRankLeftIsAnError) {
  struct Case {
    std::string value;
    ErrorCode code;
    std::string text;
  };
  const std::string mended = "another rank gave up";
  for (const auto& [value, code, text] :
       {Case{"30 rank 2 could not connect (why)", ErrorCode::timeout, "rank 2 could not connect (why)"},
        Case{"", ErrorCode::peer_lost, mended}, Case{"40", ErrorCode::peer_lost, mended},
        Case{"40 ", ErrorCode::peer_lost, mended}, Case{"30x", ErrorCode::peer_lost, mended},
        Case{"-30 a", ErrorCode::peer_lost, mended}, Case{"31 no such code", ErrorCode::peer_lost, "no such"},
        Case{"99999999999999 a", ErrorCode::peer_lost, mended}, Case{"none", ErrorCode::peer_lost, mended}}) {
    DirectoryStore store;
    store.set("gradwire/conformance/7/failed", value);
    try {
      connect(options_for({"tcp", "tcp"}, 0, 2), store);
      ADD_FAILURE() << "connected";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << value;
      EXPECT_THAT(error.what(), testing::HasSubstr(text)) << value;
    }
  }
}

TEST_F(Stranger, OfAnotherJobIsRefused) {
  const auto error = error_when_dialed_with(kSoon, [](std::uint64_t token) {
    wire::Hello other = hello(1, 0, token);
    other.job = "another";
    return wire::write_hello(other);
  });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::version_mismatch);
  EXPECT_THAT(error->what(), testing::HasSubstr("'another'"));
}

/// Both ranks are real, and of different jobs; each finds the other's address where its own peer's should be.
std::array<std::optional<Error>, 2> errors_of_strangers(const EndpointOptions& zero,
                                                        const EndpointOptions& one,
                                                        std::uint64_t token_change) {
  std::array<DirectoryStore, 2> stores;
  std::array<std::optional<Error>, 2> errors;
  const auto key_of = [](const EndpointOptions& options, int rank) {
    return store_key(options, "address/" + std::to_string(rank));
  };
  const auto connect_one = [&](const EndpointOptions& options, std::size_t index) {
    try {
      connect(options, stores[index]);
    } catch (const Error& error) {
      errors[index] = error;
    }
  };
  std::thread first([&] { connect_one(zero, 0); });
  std::thread second([&] { connect_one(one, 1); });
  auto record = read_record(stores[0].get(key_of(zero, 0), kSoon).value(), 0, one);
  record.token += token_change;
  stores[1].set(key_of(one, 0), write_record(record));
  stores[0].set(key_of(zero, 1), stores[1].get(key_of(one, 1), kSoon).value());
  first.join();
  second.join();
  return errors;
}

TEST(Strangers, BothLearnWhyTheyDoNotBelongTogether) {
  for (const std::string kind : {"tcp", "shm"}) {
    const auto options = options_for({kind, kind}, 0, 2);
    auto other = options;
    other.rank = 1;
    auto of_job = other;
    of_job.job = "another";
    const auto job = errors_of_strangers(options, of_job, 0);
    auto of_communicator = other;
    of_communicator.communicator = 8;
    const auto communicator = errors_of_strangers(options, of_communicator, 0);
    const auto run = errors_of_strangers(options, other, 1);
    for (const auto* errors : {&job, &communicator, &run}) {
      for (const auto& error : *errors) {
        ASSERT_TRUE(error);
        EXPECT_EQ(error->code(), ErrorCode::version_mismatch) << error->what();
      }
    }
    EXPECT_THAT(job[0]->what(), testing::HasSubstr("to the job 'another', this rank to 'conformance'"));
    EXPECT_THAT(job[1]->what(), testing::HasSubstr("to the job 'conformance', this rank to 'another'"));
    EXPECT_THAT(communicator[0]->what(), testing::HasSubstr("for communicator 8, this rank for 7"));
    EXPECT_THAT(communicator[1]->what(), testing::HasSubstr("for communicator 7, this rank for 8"));
    for (const auto& error : run) EXPECT_THAT(error->what(), testing::HasSubstr("another run"));
  }
}

TEST_F(Stranger, ThatAnswersInAnotherVersionIsRefused) {
  auto bytes = wire::write_hello(hello(0, 1, 5));
  bytes.buffer[4] = std::byte{2};
  const auto error = error_when_answered_with(bytes);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::version_mismatch);
  EXPECT_THAT(error->what(), testing::HasSubstr("version 2 of the protocol, this rank version 1"));
}

TEST_F(Stranger, OfAnotherVersionIsRefused) {
  const auto error = error_when_dialed_with(kSoon, [](std::uint64_t token) {
    auto bytes = wire::write_hello(hello(1, 0, token));
    bytes.buffer[4] = std::byte{2};
    return bytes;
  });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::version_mismatch);
  EXPECT_THAT(error->what(), testing::HasSubstr("version 2 of the protocol, this rank version 1"));
  EXPECT_EQ(answered_.peer, wire::kNoRank);
}

TEST_F(Stranger, WithADamagedHelloIsRefused) {
  for (const std::size_t at : {0U, 20U}) {
    const auto error = error_when_dialed_with(kWholeTime, [at](std::uint64_t token) {
      auto bytes = wire::write_hello(hello(1, 0, token));
      bytes.buffer[at] ^= std::byte{1};
      return bytes;
    });
    ASSERT_TRUE(error) << at;
    EXPECT_EQ(error->code(), ErrorCode::timeout) << at << ": " << error->what();
    EXPECT_EQ(error->peer(), 1);
    EXPECT_THAT(error->what(), testing::AllOf(testing::HasSubstr("no connection with rank 1 of 2"),
                                              testing::HasSubstr("turned away (corrupt_frame")));
    EXPECT_EQ(answered_.peer, wire::kNoRank);
    store_.clear();
  }
}

TEST_F(Stranger, ThatAnswersForAnotherJobIsRefused) {
  wire::Hello other = hello(0, 1, 5);
  other.job = "another";
  const auto error = error_when_answered_with(wire::write_hello(other));
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::version_mismatch);
}

TEST_F(Stranger, ThatAnswersWithADamagedHelloIsRefused) {
  const auto good = wire::write_hello(hello(0, 1, 5));
  for (std::size_t at = 0; at < good.size; ++at) {
    auto bytes = good;
    bytes.buffer[at] ^= std::byte{1};
    // A greater length keeps rank 1 waiting for bytes that do not come.
    const auto error =
        at == 6 ? error_when_answered_with(bytes, kWholeTime) : error_when_answered_with(bytes);
    ASSERT_TRUE(error) << at;
    const bool expected =
        error->code() == ErrorCode::corrupt_frame || error->code() == ErrorCode::version_mismatch;
    EXPECT_TRUE(expected || (at == 6 && error->code() == ErrorCode::timeout)) << at << ": " << error->what();
    store_.clear();
  }
}

TEST_F(Stranger, ThatHangsUpIsReported) {
  base::SocketAddress address = base::numeric_address("127.0.0.1", 0);
  const auto listener = listen_tcp(address);
  const auto error = error_of_rank(1, kSoon, [&] {
    publish(0, address, 5);
    pollfd wanted = {listener.get(), POLLIN, 0};
    ASSERT_GT(::poll(&wanted, 1, static_cast<int>(milliseconds(kSoon).count())), 0);
    const base::UniqueFd socket(::accept(listener.get(), nullptr, nullptr));
  });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::peer_lost);
  EXPECT_THAT(error->what(), testing::HasSubstr("hung up"));
}

TEST_F(Stranger, ThatCountsOtherRanksIsRefusedByAll) {
  std::array<std::optional<Error>, 2> errors;
  std::vector<std::thread> ranks;
  ranks.reserve(2);
  for (int rank = 0; rank < 2; ++rank) {
    ranks.emplace_back([&, rank] {
      try {
        connect(options_for({"tcp", "tcp"}, rank, 2 + rank), store_);
      } catch (const Error& error) {
        errors[static_cast<std::size_t>(rank)] = error;
      }
    });
  }
  for (auto& rank : ranks) rank.join();
  for (const auto& error : errors) {
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code(), ErrorCode::invalid_argument) << error->what();
    EXPECT_THAT(error->what(), testing::AllOf(testing::HasSubstr("2"), testing::HasSubstr("3")));
  }
}

}  // namespace
}  // namespace gradwire::transport
