#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <array>
#include <functional>
#include <random>
#include <thread>

#include "base/checksum.hpp"
#include "base/unique_fd.hpp"
#include "directory_store.hpp"
#include "mesh.hpp"
#include "transport/address_record.hpp"
#include "transport/host_identity.hpp"
#include "transport/inproc/room.hpp"
#include "transport/rendezvous_keys.hpp"
#include "transport/tcp/tcp_link.hpp"
#include "transport/tcp/tcp_socket.hpp"
#include "wire/hello.hpp"

// Peers that die, and peers that send what no correct peer sends.

namespace gradwire::transport {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// What a child tells the test about its end.
struct Report {
  int rank = -1;
  int code = 0;
  int peer = -1;
  bool streaming = false;  ///< not an end yet: the stream runs
};

/// Ranks as processes, each passing frames round a ring for ever.
class Ring {
 public:
  Ring(const Flavor& flavor, int ranks, bool one_idles) : children_(static_cast<std::size_t>(ranks)) {
    int ends[2];
    if (::pipe(ends) != 0) throw std::runtime_error("pipe");
    read_end_.reset(ends[0]);
    base::UniqueFd write_end(ends[1]);
    for (int rank = 0; rank < ranks; ++rank) {
      const pid_t child = ::fork();
      if (child == 0) {
        read_end_.reset();
        run(flavor, rank, ranks, one_idles, write_end.get());
        ::_exit(0);
      }
      children_[static_cast<std::size_t>(rank)] = child;
    }
  }
  ~Ring() {
    for (const pid_t child : children_) {
      ::kill(child, SIGKILL);
      ::waitpid(child, nullptr, 0);
    }
  }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  void kill(int rank) { ::kill(children_[static_cast<std::size_t>(rank)], SIGKILL); }

  Report next_report() {
    pollfd wanted = {read_end_.get(), POLLIN, 0};
    Report report;
    const bool told = ::poll(&wanted, 1, static_cast<int>(milliseconds(kSoon).count())) > 0 &&
                      ::read(read_end_.get(), &report, sizeof report) == sizeof report;
    EXPECT_TRUE(told) << "no report in time";
    return report;
  }

 private:
  void run(const Flavor& flavor, int rank, int ranks, bool one_idles, int pipe) {
    Report report;
    report.rank = rank;
    std::unique_ptr<Endpoint> endpoint;
    try {
      endpoint = connect(options_for(flavor, rank, ranks), store_);
      const int next = (rank + 1) % ranks;
      const int previous = (rank + ranks - 1) % ranks;
      const auto payload = payload_for(rank, next, 0, 40000);
      for (std::uint64_t n = 0;; ++n) {
        if (n == 30) {
          report.streaming = true;
          tell(pipe, report);
          report.streaming = false;
          // It sends no more and takes nothing: the queues towards it fill up.
          while (one_idles && rank == 0) {
            endpoint->progress();
            endpoint->wait(Clock::now() + seconds(1));
          }
        }
        send(*endpoint, next, header_for(rank, next, n), payload);
        receive(*endpoint, previous);
        drain(*endpoint, next, n + 1);
      }
    } catch (const Error& cause) {
      const Error error = endpoint ? endpoint->abort(cause) : cause;
      report.code = static_cast<int>(error.code());
      report.peer = error.peer().value_or(-1);
    }
    tell(pipe, report);
  }

  static void tell(int pipe, const Report& report) {
    [[maybe_unused]] const auto written = ::write(pipe, &report, sizeof report);
  }

  DirectoryStore store_;
  base::UniqueFd read_end_;
  std::vector<pid_t> children_;
};

class Fault : public testing::TestWithParam<Flavor> {};

void expect_survivors_to_name(Ring& ring, int ranks, int victim) {
  for (int i = 0; i < ranks; ++i) EXPECT_TRUE(ring.next_report().streaming);
  const auto begin = Clock::now();
  ring.kill(victim);
  for (int i = 0; i < ranks - 1; ++i) {
    const Report report = ring.next_report();
    EXPECT_NE(report.rank, victim);
    EXPECT_EQ(report.code, static_cast<int>(ErrorCode::peer_lost)) << "rank " << report.rank;
    EXPECT_EQ(report.peer, victim) << "rank " << report.rank;
  }
  EXPECT_LT(Clock::now() - begin, seconds(5));
}

TEST_P(Fault, SurvivorsNameTheRankThatWasKilled) {
  constexpr int kRanks = 4;
  for (int victim = 0; victim < kRanks; ++victim) {
    Ring ring(GetParam(), kRanks, false);
    expect_survivors_to_name(ring, kRanks, victim);
  }
}

TEST_P(Fault, SurvivorsNameItWhenQueuesAreFull) {
  constexpr int kRanks = 4;
  for (const int victim : {0, 1, 3}) {
    Ring ring(GetParam(), kRanks, true);
    expect_survivors_to_name(ring, kRanks, victim);
  }
}

INSTANTIATE_TEST_SUITE_P(Transports, Fault,
                         testing::Values(Flavor{"shm", "shm"}, Flavor{"tcp", "tcp"},
                                         Flavor{"tcp_striped", "tcp", 3}, Flavor{"automatic", "auto"}),
                         [](const auto& each) { return each.param.name; });

TEST(Inproc, ProcessesAreRefused) {
  DirectoryStore store;
  const auto code_of_rank = [&](int rank) {
    try {
      connect(options_for({"inproc", "inproc"}, rank, 2), store);
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::system;
  };
  const pid_t child = ::fork();
  if (child == 0) ::_exit(code_of_rank(1) == ErrorCode::invalid_argument ? 0 : 1);
  EXPECT_EQ(code_of_rank(0), ErrorCode::invalid_argument);
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(Inproc, WhatTheStoreSaysIsNotDereferenced) {
  for (const std::string answer : {"", "0", "room", "12345678", "00007fffffffe000", "-1", "refused "}) {
    DirectoryStore store;
    std::optional<Error> error;
    std::thread joiner([&] {
      try {
        connect(options_for({"inproc", "inproc"}, 1, 2), store);
      } catch (const Error& cause) {
        error = cause;
      }
    });
    const std::string prefix = "gradwire/conformance/7/inproc/";
    const std::string request = store.get(prefix + "join/1", kSoon).value();
    store.set(prefix + "room/1/" + request.substr(0, 16), answer);
    joiner.join();
    ASSERT_TRUE(error) << answer;
    EXPECT_EQ(error->code(), ErrorCode::corrupt_frame) << error->what();
  }
}

TEST(Inproc, ARankThatAskedAndLeftIsMissed) {
  DirectoryStore store;
  store.set("gradwire/conformance/7/inproc/join/1", "0123456789abcdef 2 " + process_identity());
  auto options = options_for({"inproc", "inproc"}, 0, 2);
  options.timeout = milliseconds(200);
  try {
    connect(options, store);
    ADD_FAILURE() << "connected with nobody";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::timeout) << error.what();
    EXPECT_EQ(error.peer(), 1);
  }
  const std::string name = store.get("gradwire/conformance/7/inproc/room/1/0123456789abcdef", kSoon).value();
  EXPECT_EQ(Room::find(name), nullptr) << "the room outlives those who could use it";
}

/// Rank 0's link with rank 1, and the test in the place of rank 1.
struct OpenHeart {
  OpenHeart() {
    std::vector<base::UniqueFd> sockets;
    for (auto* own : {&data, &control}) {
      int ends[2];
      if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) != 0)
        throw std::runtime_error("socketpair");
      sockets.emplace_back(ends[0]);
      own->reset(ends[1]);
    }
    link = std::make_unique<TcpLink>(TcpParts{0, 1, 2, 7, std::move(sockets), nullptr});
  }

  void inject(std::span<const std::byte> bytes) {
    ASSERT_EQ(::send(data.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }

  /// Takes frames until the error; empty when there is none.
  std::optional<Error> outcome() {
    try {
      for (int i = 0; i < 10; ++i) {
        link->advance(Clock::now());
        link->on_events(0, EPOLLIN);
        if (link->peer_end().is_failure()) return link->peer_end().to_error(1);
        while (link->front() != nullptr) link->pop();
      }
    } catch (const Error& error) {
      return error;
    }
    return std::nullopt;
  }

  static constexpr std::uint32_t EPOLLIN = 1;
  base::UniqueFd data;
  base::UniqueFd control;
  std::unique_ptr<TcpLink> link;
};

std::vector<std::byte> stream_of(std::initializer_list<std::size_t> sizes) {
  std::vector<std::byte> stream;
  std::uint64_t number = 0;
  for (const std::size_t size : sizes) {
    const auto payload = payload_for(1, 0, number, size);
    wire::Header header = header_for(1, 0, number++);
    header.payload_bytes = static_cast<std::uint32_t>(size);
    header.flags = wire::kFlagPayloadCrc;
    header.payload_crc = base::crc32c(payload);
    wire::HeaderBytes bytes;
    wire::write_header(header, bytes);
    stream.insert(stream.end(), bytes.begin(), bytes.end());
    stream.insert(stream.end(), payload.begin(), payload.end());
  }
  return stream;
}

TEST(CorruptStream, AnUndamagedOnePasses) {
  OpenHeart heart;
  heart.inject(stream_of({100, 0, 33}));
  EXPECT_FALSE(heart.outcome());
}

TEST(CorruptStream, AnyFlippedByteIsAnError) {
  const auto stream = stream_of({100, 0, 33});
  for (std::size_t at = 0; at < stream.size(); ++at) {
    auto damaged = stream;
    damaged[at] ^= std::byte{0x40};
    OpenHeart heart;
    heart.inject(damaged);
    const auto error = heart.outcome();
    ASSERT_TRUE(error) << "byte " << at;
    EXPECT_TRUE(error->code() == ErrorCode::corrupt_frame || error->code() == ErrorCode::version_mismatch)
        << error->what();
    EXPECT_EQ(error->peer(), 1);
  }
}

TEST(CorruptStream, AnyCutIsALoss) {
  const auto stream = stream_of({100, 0, 33});
  for (std::size_t size = 0; size <= stream.size(); ++size) {
    OpenHeart heart;
    heart.inject(std::span(stream).first(size));
    heart.data.reset();
    heart.control.reset();
    const auto error = heart.outcome();
    ASSERT_TRUE(error) << size;
    EXPECT_EQ(error->code(), ErrorCode::peer_lost) << error->what();
    EXPECT_EQ(error->peer(), 1);
  }
}

TEST(CorruptStream, DataWhereTheEndBelongsIsAnError) {
  OpenHeart heart;
  const auto stream = stream_of({100});
  ASSERT_EQ(::send(heart.control.get(), stream.data(), stream.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(stream.size()));
  const auto error = heart.outcome();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::corrupt_frame);
  EXPECT_EQ(error->peer(), 1);
}

TEST(CorruptStream, BlameOutsideTheWorldIsAnError) {
  OpenHeart heart;
  wire::Header abort;
  abort.kind = wire::FrameKind::abort;
  abort.chunk = 2;
  abort.segment = static_cast<std::uint32_t>(ErrorCode::timeout);
  wire::HeaderBytes bytes;
  wire::write_header(abort, bytes);
  ASSERT_EQ(::send(heart.control.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(bytes.size()));
  const auto error = heart.outcome();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::corrupt_frame) << error->what();
  EXPECT_EQ(error->peer(), 1);
}

TEST(CorruptStream, PayloadsWithoutAChecksumAreRefused) {
  wire::Header header = header_for(1, 0, 1);
  wire::HeaderBytes bytes;
  wire::write_header(header, bytes);
  OpenHeart heart;
  heart.inject(bytes);
  const auto error = heart.outcome();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::corrupt_frame);
}

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

/// Hellos: one side is a real connect(), the other this test with plain sockets.
class Stranger : public testing::Test {
 protected:
  static std::string key(int rank) { return "gradwire/conformance/7/address/" + std::to_string(rank); }

  static wire::Hello hello(int from, int to, std::uint64_t token) {
    wire::Hello hello;
    hello.job = "conformance";
    hello.communicator = 7;
    hello.world_size = 2;
    hello.rank = static_cast<std::uint32_t>(from);
    hello.peer = static_cast<std::uint32_t>(to);
    hello.connections = 2;
    hello.token = token;
    return hello;
  }

  /// Where nothing but the end of the time ends a test: long enough for what has to come before, also under
  /// a sanitizer on busy cores.
  static constexpr milliseconds kWholeTime{3000};

  /// The error of a rank's connect() while `stranger` plays the other rank.
  template <typename Play>
  std::optional<Error> error_of_rank(int rank, milliseconds timeout, Play stranger) {
    auto options = options_for({"tcp", "tcp"}, rank, 2);
    options.timeout = timeout;
    std::optional<Error> result;
    std::thread thread([&] {
      try {
        connect(options, store_);
      } catch (const Error& error) {
        result = error;
      }
    });
    stranger();
    thread.join();
    return result;
  }

  void publish(int rank, const base::SocketAddress& address, std::uint64_t token,
               std::uint32_t world_size = 2) {
    AddressRecord record;
    record.world_size = world_size;
    record.token = token;
    record.tcp_host = address.host();
    record.tcp_port = address.port();
    record.host = host_identity();
    record.group = record.host;
    store_.set(key(rank), write_record(record));
  }

  /// Plays rank 1, which dials rank 0 and says these bytes.
  std::optional<Error> error_when_dialed_with(
      milliseconds timeout, const std::function<wire::HelloBytes(std::uint64_t token)>& bytes_for) {
    return error_of_rank(0, timeout, [&] {
      publish(1, base::numeric_address("127.0.0.1", 1), 5);
      const auto record =
          read_record(store_.get(key(0), kSoon).value(), 0, options_for({"tcp", "tcp"}, 1, 2));
      std::string problem;
      const auto socket =
          dial_tcp(base::numeric_address(record.tcp_host, record.tcp_port), Clock::now() + kSoon, problem);
      const auto bytes = bytes_for(record.token);
      ASSERT_GT(::send(socket.get(), bytes.buffer.data(), bytes.size, MSG_NOSIGNAL), 0);
      std::array<std::byte, 1000> answer;
      pollfd wanted = {socket.get(), POLLIN, 0};
      ::poll(&wanted, 1, static_cast<int>(milliseconds(kSoon).count()));
      const auto size = ::recv(socket.get(), answer.data(), answer.size(), MSG_DONTWAIT);
      ASSERT_GT(size, 0) << "it should say who it is";
      answered_ = wire::read_hello(std::span(answer).first(static_cast<std::size_t>(size)), "rank 0");
    });
  }

  /// Plays rank 0, which rank 1 dials, and answers with these bytes.
  std::optional<Error> error_when_answered_with(const wire::HelloBytes& bytes,
                                                milliseconds timeout = milliseconds(kSoon)) {
    base::SocketAddress address = base::numeric_address("127.0.0.1", 0);
    const auto listener = listen_tcp(address);
    return error_of_rank(1, timeout, [&] {
      publish(0, address, 5);
      pollfd wanted = {listener.get(), POLLIN, 0};
      ASSERT_GT(::poll(&wanted, 1, static_cast<int>(milliseconds(kSoon).count())), 0);
      const base::UniqueFd socket(::accept(listener.get(), nullptr, nullptr));
      ASSERT_GT(::send(socket.get(), bytes.buffer.data(), bytes.size, MSG_NOSIGNAL), 0);
      wanted = {socket.get(), POLLRDHUP, 0};
      ::poll(&wanted, 1, static_cast<int>(milliseconds(kSoon).count()));
    });
  }

  DirectoryStore store_;
  wire::Hello answered_;
};

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

TEST_F(Stranger, ThatIsNoRankDoesNotDisturb) {
  std::thread noise([&] {
    const auto record = read_record(store_.get(key(0), kSoon).value(), 0, options_for({"tcp", "tcp"}, 1, 2));
    std::string problem;
    const auto socket =
        dial_tcp(base::numeric_address(record.tcp_host, record.tcp_port), Clock::now() + kSoon, problem);
    const std::string request = "GET / HTTP/1.1\r\n\r\n";
    ASSERT_GT(::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL), 0);
    std::this_thread::sleep_for(milliseconds(100));
  });
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < 2; ++rank) {
    ranks.emplace_back([&, rank] {
      if (rank == 1) std::this_thread::sleep_for(milliseconds(200));
      EXPECT_NO_THROW(connect(options_for({"tcp", "tcp"}, rank, 2), store_)->close(seconds(1)));
    });
  }
  noise.join();
  for (auto& rank : ranks) rank.join();
}

TEST_F(Stranger, ThatSaysNothingIsLetGoOf) {
  auto options = options_for({"tcp", "tcp"}, 0, 2);
  options.timeout = seconds(2);
  std::thread rank([&] { EXPECT_THROW(connect(options, store_), Error); });
  publish(1, base::numeric_address("127.0.0.1", 1), 5);
  const auto record = read_record(store_.get(key(0), kSoon).value(), 0, options_for({"tcp", "tcp"}, 1, 2));
  std::string problem;
  const auto begin = Clock::now();
  const auto socket =
      dial_tcp(base::numeric_address(record.tcp_host, record.tcp_port), Clock::now() + kSoon, problem);
  ASSERT_EQ(::send(socket.get(), "GWH", 3, MSG_NOSIGNAL), 3);
  pollfd wanted = {socket.get(), POLLRDHUP, 0};
  EXPECT_EQ(::poll(&wanted, 1, 60'000), 1);
  EXPECT_LT(Clock::now() - begin, milliseconds(1900)) << "only the deadline of all ended it";
  rank.join();
}

/// Opens connections to rank 0 in a process of its own, and says nothing on any of them.
pid_t start_silent_crowd(Store& store, const std::string& key, int size, int ready) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  const auto record = read_record(store.get(key, kSoon).value(), 0, options_for({"tcp", "tcp"}, 1, 2));
  std::vector<base::UniqueFd> crowd;
  std::string problem;
  for (int i = 0; i < size; ++i) {
    crowd.push_back(
        dial_tcp(base::numeric_address(record.tcp_host, record.tcp_port), Clock::now() + kSoon, problem));
  }
  [[maybe_unused]] const auto told = ::write(ready, "r", 1);
  while (true) ::pause();
}

TEST_F(Stranger, ManyThatSayNothingLeaveRoomForRanks) {
  std::array<int, 2> ready{};
  ASSERT_EQ(::pipe(ready.data()), 0);
  const pid_t crowd = start_silent_crowd(store_, key(0), 200, ready[1]);
  // A process of its own, like any rank, with descriptors of its own.
  const pid_t late = ::fork();
  if (late == 0) {
    try {
      char byte = 0;
      [[maybe_unused]] const auto told = ::read(ready[0], &byte, 1);
      connect(options_for({"tcp", "tcp"}, 1, 2), store_)->close(seconds(1));
      ::_exit(0);
    } catch (const Error&) {
      ::_exit(1);
    }
  }
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit tight = before;
  tight.rlim_cur = static_cast<rlim_t>(ready[1]) + 60;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
  EXPECT_NO_THROW(connect(options_for({"tcp", "tcp"}, 0, 2), store_)->close(seconds(1)));
  ::setrlimit(RLIMIT_NOFILE, &before);
  int status = -1;
  ::waitpid(late, &status, 0);
  EXPECT_EQ(status, 0);
  ::kill(crowd, SIGKILL);
  ::waitpid(crowd, nullptr, 0);
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(Stranger, IsNotTakenForTheCauseOfAMissingRank) {
  const auto error = error_of_rank(0, kWholeTime, [&] {
    publish(1, base::numeric_address("127.0.0.1", 1), 5);
    const auto record = read_record(store_.get(key(0), kSoon).value(), 0, options_for({"tcp", "tcp"}, 1, 2));
    std::string problem;
    const auto socket =
        dial_tcp(base::numeric_address(record.tcp_host, record.tcp_port), Clock::now() + kSoon, problem);
    const std::string request = "GET / HTTP/1.1\r\n\r\n";
    ASSERT_GT(::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL), 0);
    pollfd wanted = {socket.get(), POLLRDHUP, 0};
    ::poll(&wanted, 1, static_cast<int>(milliseconds(kSoon).count()));
  });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::timeout);
  EXPECT_EQ(error->peer(), 1);
  EXPECT_THAT(error->what(), testing::AllOf(testing::HasSubstr("no connection with rank 1 of 2"),
                                            testing::HasSubstr("not a gradwire rank")));
}

TEST_F(Stranger, ThatCountsOtherRanksIsRefusedByAll) {
  std::array<std::optional<Error>, 2> errors;
  std::vector<std::thread> ranks;
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
