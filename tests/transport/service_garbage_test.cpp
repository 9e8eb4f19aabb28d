#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>

#include <array>

#include "base/checksum.hpp"
#include "service_stranger.hpp"
#include "transport/greeting.hpp"
#include "transport/shm/shm_socket.hpp"

// Callers that say the right hello and then what no correct caller says.

namespace gradwire::transport {
namespace {

using std::chrono::milliseconds;

TEST_F(ServiceStranger, GarbageEndsOnlyItsOwnLink) {
  const std::string garbage(1000, 'x');
  for (const bool on_control : {false, true}) {
    const RawCaller data(host_->address());
    const RawCaller control(host_->address());
    data.hello(0, 9);
    control.hello(1, 9);
    const std::size_t gone = host_->departed().size();
    const std::size_t arrived = host_->arrived();
    host_->serve_until([&] { return host_->arrived() == arrived + 1; });
    expect_service();
    ASSERT_TRUE(data.answer() && control.answer());
    (on_control ? control : data).say(garbage);
    host_->serve_until([&] { return host_->departed().size() == gone + 2; });
    ASSERT_TRUE(host_->departed().back().error);
    EXPECT_EQ(host_->departed().back().error->code(), ErrorCode::corrupt_frame);
    // It is told so before the connections end.
    host_->serve_until([&] { return data.is_hung_up() && control.is_hung_up(); });
    const auto header = control.header();
    ASSERT_TRUE(header);
    EXPECT_EQ(header->kind, wire::FrameKind::abort);
    EXPECT_EQ(header->segment, static_cast<std::uint32_t>(ErrorCode::corrupt_frame));
    expect_service();
  }
}

TEST_F(ServiceStranger, ADamagedPayloadEndsItsLinkAfterTheFramesBeforeIt) {
  const RawCaller data(host_->address());
  const RawCaller control(host_->address());
  data.hello(0, 9);
  control.hello(1, 9);
  host_->serve_until([&] { return host_->arrived() == 1; });
  wire::Header header;
  header.flags = wire::kFlagPayloadCrc;
  header.payload_bytes = 4;
  header.payload_crc = base::crc32c(std::as_bytes(std::span("good", 4)));
  wire::HeaderBytes bytes;
  wire::write_header(header, bytes);
  const std::string head(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  data.say(head + "good" + head + "evil");
  host_->serve_until([&] { return host_->departed().size() == 1; });
  EXPECT_EQ(host_->frames(), 1);
  ASSERT_TRUE(host_->departed()[0].error);
  EXPECT_EQ(host_->departed()[0].error->code(), ErrorCode::corrupt_frame);
  expect_service();
}

TEST_F(ServiceStranger, WhoKeepsOnlyHalfItsConnectionsIsGone) {
  for (const bool keeps_data : {false, true}) {
    auto data = std::make_unique<RawCaller>(host_->address());
    auto control = std::make_unique<RawCaller>(host_->address());
    data->hello(0, 9);
    control->hello(1, 9);
    const std::size_t gone = host_->departed().size();
    const std::size_t arrived = host_->arrived();
    host_->serve_until([&] { return host_->arrived() == arrived + 1; });
    (keeps_data ? control : data).reset();
    host_->serve_until([&] { return host_->departed().size() == gone + 1; });
    EXPECT_EQ(host_->departed().back().error->code(), ErrorCode::peer_lost);
  }
}

/// What a caller by shared memory passes along with its hello.
class LocalStranger : public ServiceStranger {
 protected:
  LocalStranger() { open(service_options(over_shm)); }

  /// Says a hello that is right, with these descriptors.
  [[nodiscard]] base::UniqueFd knock(std::span<const int> descriptors) const {
    std::string why;
    const auto place = base::parse_host_port(host_->address(), why).value();
    base::UniqueFd socket = dial_unix(unix_name_of(base::numeric_address(place.host, place.port)));
    say_hello(socket.get(), service_hello(service_options(over_shm), kCallerRank, true, 0, 3), descriptors);
    return socket;
  }
  static bool is_hung_up(const base::UniqueFd& socket) {
    pollfd wanted = {socket.get(), POLLRDHUP, 0};
    return ::poll(&wanted, 1, 0) > 0;
  }

  Doorbell bell_;
};

TEST_F(LocalStranger, WithoutMemoryToShareIsTurnedAway) {
  const base::UniqueFd file(::memfd_create("not-what-it-seems", MFD_CLOEXEC));
  base::UniqueFd memory;
  const PairMemory pair = PairMemory::create(memory);
  for (const std::vector<int>& passed :
       {std::vector<int>{}, {bell_.fd()}, {bell_.fd(), file.get()}, {memory.get(), bell_.fd()}}) {
    const auto socket = knock(passed);
    host_->serve_until([&] { return is_hung_up(socket); });
  }
  EXPECT_EQ(host_->arrived(), 0);
  expect_service(over_shm);
}

TEST_F(LocalStranger, ThatPutsGarbageIntoTheRingIsGone) {
  base::UniqueFd memory;
  const PairMemory pair = PairMemory::create(memory);
  const std::array<int, 2> passed{bell_.fd(), memory.get()};
  const auto socket = knock(passed);
  host_->serve_until([&] { return host_->arrived() == 1; });
  RingWriter writer(pair.pair().rings[0], pair.payloads(0));
  wire::Header header;
  ASSERT_TRUE(writer.push(header, {}));
  header.payload_bytes = wire::kMaxPayload + 1;
  ASSERT_TRUE(writer.push(header, {}));
  host_->serve_until([&] { return host_->departed().size() == 1; });
  EXPECT_EQ(host_->frames(), 1);
  ASSERT_TRUE(host_->departed()[0].error);
  EXPECT_EQ(host_->departed()[0].error->code(), ErrorCode::corrupt_frame);
  EXPECT_EQ(LinkEnd::from_word(pair.pair().rings[1].end, 2).code, ErrorCode::corrupt_frame);
  host_->serve_until([&] { return is_hung_up(socket); });
  expect_service(over_shm);
}

}  // namespace
}  // namespace gradwire::transport
