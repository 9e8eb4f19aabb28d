#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/checksum.hpp"
#include "gradwire/error.hpp"
#include "transport/tcp/inbox.hpp"

// A stream of frames as a connection receives it, in pieces. Random bytes never fit a checksum, so the first
// input byte says how long the pieces are, whether the checksums of what looks like frames are made to fit
// first, and whether the connection is the one for data.

namespace {

namespace base = gradwire::base;
namespace transport = gradwire::transport;
namespace wire = gradwire::wire;
using gradwire::ErrorCode;
using wire::kHeaderBytes;

constexpr std::size_t kPayloadBytesOffset = 44;
constexpr std::size_t kPayloadCrcOffset = 48;
constexpr std::size_t kHeaderCrcOffset = 60;
constexpr std::size_t kFlagsOffset = 8;

template <typename T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

void seal(std::vector<std::byte>& stream) {
  for (std::size_t at = 0; stream.size() - at >= kHeaderBytes;) {
    std::byte* header = stream.data() + at;
    const std::size_t size = load<std::uint32_t>(header + kPayloadBytesOffset);
    const std::size_t whole = std::min(size, stream.size() - at - kHeaderBytes);
    if ((load<std::uint16_t>(header + kFlagsOffset) & wire::kFlagPayloadCrc) != 0) {
      const std::uint32_t crc = base::crc32c({header + kHeaderBytes, whole});
      std::memcpy(header + kPayloadCrcOffset, &crc, sizeof crc);
    }
    const std::uint32_t crc = base::crc32c({header, kHeaderCrcOffset});
    std::memcpy(header + kHeaderCrcOffset, &crc, sizeof crc);
    at += kHeaderBytes + whole;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = 1 + (data[0] >> 2U);
  const auto carries = (data[0] & 2U) != 0 ? transport::Inbox::Carries::data : transport::Inbox::Carries::end;
  std::vector<std::byte> stream(size - 1);
  if (!stream.empty()) std::memcpy(stream.data(), data + 1, stream.size());
  if ((data[0] & 1U) != 0) seal(stream);

  transport::Inbox inbox(1, 4, carries, kHeaderBytes + wire::kMaxPayload);
  std::size_t at = 0;
  std::size_t taken = 0;
  try {
    while (true) {
      while (const transport::Frame* frame = inbox.front()) {
        if (carries == transport::Inbox::Carries::end) __builtin_trap();
        // What is given out lies inside what was put in, in its order.
        const std::size_t begin = taken + kHeaderBytes;
        if (begin + frame->payload.size() > at) __builtin_trap();
        if (!std::equal(frame->payload.begin(), frame->payload.end(),
                        stream.begin() + static_cast<std::ptrdiff_t>(begin))) {
          __builtin_trap();
        }
        taken = begin + frame->payload.size();
        inbox.pop();
      }
      if (inbox.end().kind != transport::LinkEnd::Kind::open || at == stream.size()) break;
      const auto space = inbox.space();
      if (space.empty()) __builtin_trap();  // a whole frame fits, so it cannot be stuck
      const std::size_t part = std::min({piece, space.size(), stream.size() - at});
      std::copy_n(stream.begin() + static_cast<std::ptrdiff_t>(at), part, space.begin());
      at += part;
      inbox.filled(part);
    }
    if (inbox.end().kind == transport::LinkEnd::Kind::abort) {
      if (inbox.end().origin < 0 || inbox.end().origin >= 4) __builtin_trap();
      if (carries == transport::Inbox::Carries::data) __builtin_trap();
    }
  } catch (const gradwire::Error& error) {
    if (error.code() != ErrorCode::corrupt_frame && error.code() != ErrorCode::version_mismatch)
      __builtin_trap();
  }
  return 0;
}
