#include "rendezvous/store_protocol.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "base/byte_reader.hpp"
#include "base/byte_writer.hpp"
#include "base/limits.hpp"
#include "gradwire/error.hpp"

namespace gradwire::rendezvous {
namespace {

constexpr std::uint32_t kMagic = 0x31535747;  // "GWS1" in memory

base::ByteReader reader(std::string_view bytes) { return base::ByteReader(std::as_bytes(std::span(bytes))); }

/// Runs `write` on a string of exactly `size` bytes.
template <typename Write>
std::string message(std::size_t size, const Write& write) {
  std::string out(size, '\0');
  base::ByteWriter writer(std::as_writable_bytes(std::span(out)));
  write(writer);
  return out;
}

}  // namespace

void check_entry(const std::string& key, const std::string& value) {
  if (key.size() <= kMaxKey && value.size() <= kMaxValue) return;
  throw Error(ErrorCode::invalid_argument,
              fmt::format("a key of {} bytes with a value of {} bytes does not go into a store", key.size(),
                          value.size()),
              fmt::format("keep keys to {} bytes and values to {}", kMaxKey, kMaxValue));
}

Error store_is_full(std::size_t bytes) {
  return {ErrorCode::unsupported,
          fmt::format("the store is full: it has no room for another {} bytes", bytes),
          "keep large data elsewhere, and its place in the store"};
}

std::string write_store_hello(const StoreHello& hello) {
  return message(kStoreHelloHead + hello.job.size(), [&](base::ByteWriter& out) {
    out.write(kMagic);
    out.write(hello.version);
    out.write(hello.rank);
    out.write(hello.session);
    out.short_text(hello.job);
  });
}

std::string write_store_answer(Verdict verdict) {
  return message(kStoreAnswer, [&](base::ByteWriter& out) {
    out.write(kMagic);
    out.write(kStoreVersion);
    out.write(static_cast<std::uint8_t>(verdict));
  });
}

std::string write_request(const Request& request) {
  return message(kRequestHead + request.key.size() + request.value.size(), [&](base::ByteWriter& out) {
    out.write(static_cast<std::uint8_t>(request.verb));
    out.write(static_cast<std::uint32_t>(request.key.size()));
    out.write(static_cast<std::uint32_t>(request.value.size()));
    out.write(static_cast<std::uint64_t>(request.timeout.count()));
    out.text(request.key);
    out.text(request.value);
  });
}

std::string write_reply(const std::optional<std::string>& value) {
  const std::size_t size = value ? value->size() : 0;
  return message(kReplyHead + size, [&](base::ByteWriter& out) {
    out.write(static_cast<std::uint8_t>(value ? 1 : 0));
    out.write(static_cast<std::uint32_t>(size));
    if (value) out.text(*value);
  });
}

Parsed read_store_hello(std::string_view bytes, StoreHello& hello, std::size_t& size) {
  const std::string_view magic("GWS1", 4);
  const std::size_t known = std::min(bytes.size(), magic.size());
  if (bytes.substr(0, known) != magic.substr(0, known)) return Parsed::garbage;
  if (bytes.size() < 5) return Parsed::incomplete;
  auto in = reader(bytes.substr(4));
  hello.version = in.read<std::uint8_t>();
  if (hello.version != kStoreVersion) {
    size = bytes.size();
    return Parsed::whole;
  }
  if (bytes.size() < kStoreHelloHead) return Parsed::incomplete;
  hello.rank = in.read<std::uint32_t>();
  if (hello.rank >= base::kMaxRanks) return Parsed::garbage;
  hello.session = in.read<std::uint64_t>();
  const std::size_t job_size = in.read<std::uint16_t>();
  if (job_size > base::kMaxJobBytes) return Parsed::garbage;
  size = kStoreHelloHead + job_size;
  if (bytes.size() < size) return Parsed::incomplete;
  hello.job = in.text(job_size);
  return Parsed::whole;
}

Parsed read_request(std::string_view bytes, Request& request, std::size_t& size) {
  if (bytes.empty()) return Parsed::incomplete;
  auto in = reader(bytes);
  const auto verb = in.read<std::uint8_t>();
  if (verb != 1 && verb != 2) return Parsed::garbage;
  if (bytes.size() < kRequestHead) return Parsed::incomplete;
  request.verb = static_cast<StoreVerb>(verb);
  const std::size_t key_size = in.read<std::uint32_t>();
  const std::size_t value_size = in.read<std::uint32_t>();
  if (key_size > kMaxKey || value_size > kMaxValue) return Parsed::garbage;
  const auto longest = static_cast<std::uint64_t>(kLongestWait.count());
  request.timeout = std::chrono::milliseconds(std::min(in.read<std::uint64_t>(), longest));
  size = kRequestHead + key_size + value_size;
  if (bytes.size() < size) return Parsed::incomplete;
  request.key = in.text(key_size);
  request.value = in.text(value_size);
  return Parsed::whole;
}

std::optional<Verdict> read_store_answer(std::string_view bytes) {
  auto in = reader(bytes);
  if (in.read<std::uint32_t>() != kMagic) return std::nullopt;
  const auto version = in.read<std::uint8_t>();
  const auto verdict = in.read<std::uint8_t>();
  if (!in.ok()) return std::nullopt;
  if (version != kStoreVersion) return Verdict::other_version;
  if (verdict > static_cast<std::uint8_t>(Verdict::taken)) return std::nullopt;
  return static_cast<Verdict>(verdict);
}

std::optional<ReplyHead> read_reply_head(std::string_view bytes) {
  auto in = reader(bytes);
  const auto found = in.read<std::uint8_t>();
  const std::size_t size = in.read<std::uint32_t>();
  if (!in.ok() || found > 1 || size > kMaxValue) return std::nullopt;
  return ReplyHead{found == 1, size};
}

}  // namespace gradwire::rendezvous
