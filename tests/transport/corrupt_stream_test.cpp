#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <optional>

#include "base/checksum.hpp"
#include "base/unique_fd.hpp"
#include "mesh.hpp"
#include "transport/tcp/tcp_link.hpp"

// Connected peers that send what no correct peer sends.

namespace gradwire::transport {
namespace {

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

  void inject(std::span<const std::byte> bytes) const {
    ASSERT_EQ(::send(data.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }

  /// Takes frames until the error; empty when there is none.
  [[nodiscard]] std::optional<Error> outcome() const {
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

}  // namespace
}  // namespace gradwire::transport
