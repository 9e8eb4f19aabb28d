#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/limits.hpp"
#include "rendezvous/store_protocol.hpp"

// Any bytes as each message of the store's protocol: a whole one is what writing what it holds gives again,
// no proper beginning of it is whole, and nothing larger than the limits is announced.

namespace {

using gradwire::base::kMaxJobBytes;
using gradwire::base::kMaxRanks;
using gradwire::rendezvous::kLongestWait;
using gradwire::rendezvous::kMaxKey;
using gradwire::rendezvous::kMaxValue;
using gradwire::rendezvous::kStoreAnswer;
using gradwire::rendezvous::kStoreVersion;
using gradwire::rendezvous::Parsed;
using gradwire::rendezvous::Request;
using gradwire::rendezvous::StoreHello;
using gradwire::rendezvous::Verdict;

void require(bool condition) {
  if (!condition) std::abort();
}

void check_hello(std::string_view bytes) {
  StoreHello hello;
  std::size_t size = 0;
  if (gradwire::rendezvous::read_store_hello(bytes, hello, size) != Parsed::whole) return;
  require(size <= bytes.size());
  if (hello.version != kStoreVersion) return;
  require(hello.rank < kMaxRanks && hello.job.size() <= kMaxJobBytes);
  require(gradwire::rendezvous::write_store_hello(hello) == bytes.substr(0, size));
  for (std::size_t part = 0; part < size; ++part) {
    StoreHello cut;
    std::size_t ignored = 0;
    require(gradwire::rendezvous::read_store_hello(bytes.substr(0, part), cut, ignored) ==
            Parsed::incomplete);
  }
}

void check_request(std::string_view bytes) {
  Request request;
  std::size_t size = 0;
  if (gradwire::rendezvous::read_request(bytes, request, size) != Parsed::whole) return;
  require(size <= bytes.size());
  require(request.key.size() <= kMaxKey && request.value.size() <= kMaxValue);
  require(request.timeout.count() >= 0 && request.timeout <= kLongestWait);
  const std::string again = gradwire::rendezvous::write_request(request);
  // A longer wait than any may be is shortened.
  constexpr std::size_t kTimeoutOffset = 9;
  constexpr std::size_t kTimeoutBytes = 8;
  require(again.substr(0, kTimeoutOffset) == bytes.substr(0, kTimeoutOffset));
  require(again.substr(kTimeoutOffset + kTimeoutBytes) ==
          bytes.substr(kTimeoutOffset + kTimeoutBytes, size - kTimeoutOffset - kTimeoutBytes));
  if (request.timeout < kLongestWait) require(again == bytes.substr(0, size));
  for (std::size_t part = 0; part < size; ++part) {
    Request cut;
    std::size_t ignored = 0;
    require(gradwire::rendezvous::read_request(bytes.substr(0, part), cut, ignored) == Parsed::incomplete);
  }
}

void check_replies(std::string_view bytes) {
  if (const auto verdict = gradwire::rendezvous::read_store_answer(bytes);
      verdict && verdict != Verdict::other_version) {
    require(gradwire::rendezvous::write_store_answer(*verdict) == bytes.substr(0, kStoreAnswer));
  }
  if (const auto head = gradwire::rendezvous::read_reply_head(bytes)) require(head->size <= kMaxValue);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  check_hello(bytes);
  check_request(bytes);
  check_replies(bytes);
  return 0;
}
