#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "gradwire/error.hpp"
#include "rendezvous/key_value_table.hpp"

/// What a store's server and its clients say to each other, over TCP or a Unix socket. Little-endian:
///
///   hello    "GWS1" version:u8 rank:u32 session:u64 job:u16+bytes     client, once
///   answer   "GWS1" version:u8 verdict:u8                             server, once
///   request  verb:u8 key:u32 value:u32 milliseconds:u64 bytes bytes   client; the next one follows the reply
///   reply    found:u8 value:u32 bytes                                 server
///
/// `found` is 0 in the reply to a set that the server has no room for. Sizes beyond the limits below end the
/// connection before anything of that size is allocated, and so does a message that does not wait for the
/// reply to the one before.
namespace gradwire::rendezvous {

inline constexpr std::uint8_t kStoreVersion = 1;
inline constexpr std::size_t kMaxKey = 1024;
inline constexpr std::size_t kMaxValue = 1U << 20U;
/// What a server keeps at most, however many connect: values, and messages that are not whole or not sent.
inline constexpr std::size_t kMaxStoreTable = 256U << 20U;
inline constexpr std::size_t kMaxStoreBuffers = 64U << 20U;

inline constexpr std::size_t kStoreHelloHead = 19;
inline constexpr std::size_t kStoreAnswer = 6;
inline constexpr std::size_t kRequestHead = 17;
inline constexpr std::size_t kReplyHead = 5;

struct StoreHello {
  std::uint8_t version = kStoreVersion;
  std::uint32_t rank = 0;
  /// Drawn at random by every store object. A server knows each rank by one session: a second one belongs to
  /// the job's next communicator, which has a server of its own, or to a process that claims a rank twice.
  std::uint64_t session = 0;
  std::string job;
};

enum class Verdict : std::uint8_t { welcome = 0, other_job = 1, other_version = 2, taken = 3 };

enum class StoreVerb : std::uint8_t { set = 1, get = 2 };

struct Request {
  StoreVerb verb = StoreVerb::get;
  std::chrono::milliseconds timeout{0};
  std::string key;
  std::string value;
};

/// Throws Error(invalid_argument) for a key or a value beyond the limits.
void check_entry(const std::string& key, const std::string& value);

/// For a set of that many bytes that the server refuses.
Error store_is_full(std::size_t bytes);

std::string write_store_hello(const StoreHello& hello);
std::string write_store_answer(Verdict verdict);
std::string write_request(const Request& request);
std::string write_reply(const std::optional<std::string>& value);

/// The outcome of parsing a message from the start of some bytes.
enum class Parsed { whole, incomplete, garbage };

/// Each sets `size` to the length of a whole message.
Parsed read_store_hello(std::string_view bytes, StoreHello& hello, std::size_t& size);
Parsed read_request(std::string_view bytes, Request& request, std::size_t& size);

/// nullopt for bytes that no store's server sends.
std::optional<Verdict> read_store_answer(std::string_view bytes);

/// The length of the value that follows, and whether there is one; nullopt for garbage.
struct ReplyHead {
  bool found = false;
  std::size_t size = 0;
};
std::optional<ReplyHead> read_reply_head(std::string_view bytes);

}  // namespace gradwire::rendezvous
