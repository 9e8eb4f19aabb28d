#include "server/messages.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <concepts>
#include <string>
#include <type_traits>
#include <utility>

#include "base/byte_reader.hpp"
#include "base/byte_writer.hpp"
#include "gradwire/error.hpp"

namespace gradwire::server {
namespace {

template <typename T, typename Message>
concept Is = std::same_as<std::remove_const_t<T>, Message>;

// The fields of every message in the order of their bytes, once for both ways: `io` is a HeadWriter or a
// HeadReader.

void fields(auto& io, Is<Join> auto& join) {
  io.number(join.session);
  io.number(join.worker);
  io.number(join.workers);
  io.number(join.server);
  io.number(join.servers);
  io.mode(join.consistency.mode);
  io.number(join.consistency.staleness);
  io.text(join.push_codec, "push codec", 1, kMaxSpecBytes);
  io.text(join.pull_codec, "pull codec", 1, kMaxSpecBytes);
}

void fields(auto& io, Is<MakeKey> auto& make) {
  io.number(make.request);
  io.text(make.key, "key", 1, kMaxKeyBytes);
  io.text(make.optimizer, "optimizer", 1, kMaxSpecBytes);
  io.number(make.total);
  io.number(make.first);
  io.number(make.count);
}

void fields(auto& io, Is<Push> auto& push) {
  io.number(push.sequence);
  io.number(push.shard);
  io.number(push.clock);
}

void fields(auto& io, Is<Pull> auto& pull) {
  io.number(pull.request);
  io.number(pull.shard);
  io.number(pull.clock);
  io.number(pull.incarnation);
  io.number(pull.version);
}

void fields(auto& io, Is<Advance> auto& advance) { io.number(advance.clock); }
void fields(auto& /*io*/, Is<Beat> auto& /*beat*/) {}
void fields(auto& /*io*/, Is<Leave> auto& /*leave*/) {}

void fields(auto& io, Is<Joined> auto& joined) {
  io.number(joined.incarnation);
  io.number(joined.clock);
  io.number(joined.sequence);
  io.number(joined.lease_ms);
  io.number(joined.shards);
  io.number(joined.origin);
}

void fields(auto& io, Is<KeyMade> auto& made) {
  io.number(made.request);
  io.number(made.shard);
  io.number(made.version);
  io.number(made.count);
}

void fields(auto& io, Is<Accepted> auto& accepted) { io.number(accepted.sequence); }

void fields(auto& io, Is<Pulled> auto& pulled) {
  io.number(pulled.request);
  io.number(pulled.version);
  io.number(pulled.clock);
  io.number(pulled.sealed);
  io.flag(pulled.whole);
}

void fields(auto& io, Is<Refused> auto& refused) {
  io.verb(refused.verb);
  io.number(refused.request);
  io.code(refused.code);
  io.text(refused.happened, "reason", 0, kMaxReasonBytes);
  io.text(refused.advice, "advice", 0, kMaxReasonBytes);
}

template <typename Message>
constexpr Verb kVerbOf{};
template <>
constexpr Verb kVerbOf<Join> = Verb::join;
template <>
constexpr Verb kVerbOf<MakeKey> = Verb::make_key;
template <>
constexpr Verb kVerbOf<Push> = Verb::push;
template <>
constexpr Verb kVerbOf<Pull> = Verb::pull;
template <>
constexpr Verb kVerbOf<Advance> = Verb::advance;
template <>
constexpr Verb kVerbOf<Beat> = Verb::beat;
template <>
constexpr Verb kVerbOf<Leave> = Verb::leave;
template <>
constexpr Verb kVerbOf<Joined> = Verb::joined;
template <>
constexpr Verb kVerbOf<KeyMade> = Verb::key_made;
template <>
constexpr Verb kVerbOf<Accepted> = Verb::accepted;
template <>
constexpr Verb kVerbOf<Pulled> = Verb::pulled;
template <>
constexpr Verb kVerbOf<Refused> = Verb::refused;

/// What no correct peer sends although its bytes can be read; nothing when all is well.
std::string fault_in(const Join& join) {
  if (join.workers == 0) return "a job of no workers";
  if (join.server >= join.servers) return fmt::format("server {} of {}", join.server, join.servers);
  if (join.consistency.mode != Consistency::Mode::ssp && join.consistency.staleness != 0)
    return "a staleness where none may be";
  return {};
}
std::string fault_in(const MakeKey& make) {
  if (make.total > kMaxElements || make.first > make.total || make.count > make.total - make.first)
    return fmt::format("elements {} + {} of {}", make.first, make.count, make.total);
  return {};
}
std::string fault_in(const Push& push) { return push.sequence == 0 ? "the sequence number 0" : ""; }
std::string fault_in(const KeyMade& made) {
  return made.count > kMaxElements ? fmt::format("{} elements", made.count) : "";
}
std::string fault_in(const Pulled& pulled) {
  return pulled.whole && pulled.sealed != 0 ? "sealed versions beside the whole value" : "";
}
template <typename Message>
std::string fault_in(const Message& /*message*/) {
  return {};
}

constexpr std::size_t kMostHeadBytes = 1 + 1 + 8 + 4 + 2 * (2 + kMaxReasonBytes);

class HeadWriter {
 public:
  template <std::unsigned_integral T>
  void number(T value) noexcept {
    bytes_.write(value);
  }
  void flag(bool value) noexcept { number(static_cast<std::uint8_t>(value ? 1 : 0)); }
  void mode(Consistency::Mode value) noexcept { number(static_cast<std::uint8_t>(value)); }
  void verb(Verb value) noexcept { number(static_cast<std::uint8_t>(value)); }
  void code(ErrorCode value) noexcept { number(static_cast<std::uint32_t>(value)); }
  void text(std::string_view value, std::string_view what, std::size_t least, std::size_t most) {
    if (value.size() < least || value.size() > most) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("the {} has {} bytes, {} to {} are allowed", what, value.size(), least, most),
                  "choose another one");
    }
    bytes_.short_text(value);
  }

  [[nodiscard]] std::vector<std::byte> take() const {
    const auto written = bytes_.written();
    return {written.begin(), written.end()};
  }

 private:
  std::array<std::byte, kMostHeadBytes> buffer_;
  base::ByteWriter bytes_{buffer_};
};

class HeadReader {
 public:
  explicit HeadReader(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}

  template <std::unsigned_integral T>
  void number(T& value) noexcept {
    value = bytes_.read<T>();
  }
  void flag(bool& value) {
    const auto byte = bytes_.read<std::uint8_t>();
    if (byte > 1) note(fmt::format("{} where 0 or 1 belongs", byte));
    value = byte == 1;
  }
  void mode(Consistency::Mode& value) {
    const auto byte = bytes_.read<std::uint8_t>();
    if (byte > static_cast<std::uint8_t>(Consistency::Mode::asp))
      note(fmt::format("the unknown consistency {}", byte));
    value = static_cast<Consistency::Mode>(byte);
  }
  void verb(Verb& value) {
    const auto byte = bytes_.read<std::uint8_t>();
    value = static_cast<Verb>(byte);
    if (value < Verb::join || value > Verb::leave) note(fmt::format("the unknown request {}", byte));
  }
  void code(ErrorCode& value) {
    const auto number = bytes_.read<std::uint32_t>();
    value = static_cast<ErrorCode>(number);
    if (gradwire::to_string(value) == "unknown") note(fmt::format("the unknown error code {}", number));
  }
  void text(std::string& value, std::string_view what, std::size_t least, std::size_t most) {
    const auto size = bytes_.read<std::uint16_t>();
    if (size < least || size > most)
      note(fmt::format("a {} of {} bytes, where {} to {} are allowed", what, size, least, most));
    value = bytes_.text(size);
  }

  /// The first thing that is wrong, if any.
  [[nodiscard]] std::string fault() const {
    if (!bytes_.ok()) return "fewer bytes than it needs";
    if (!fault_.empty()) return fault_;
    if (bytes_.remaining() != 0) return fmt::format("{} bytes after its end", bytes_.remaining());
    return {};
  }

 private:
  void note(std::string fault) {
    if (fault_.empty()) fault_ = std::move(fault);
  }

  base::ByteReader bytes_;
  std::string fault_;
};

[[noreturn]] void refuse(std::string_view from, std::string_view what) {
  throw Error(ErrorCode::corrupt_frame, fmt::format("{} sent {}", from, what),
              "check that servers and workers run the same build of gradwire");
}

std::uint64_t number_in(const auto& message) noexcept {
  if constexpr (requires { message.request; }) {
    return message.request;
  } else if constexpr (Is<decltype(message), const Push&> || Is<decltype(message), const Accepted&>) {
    return message.sequence;
  } else {
    return 0;
  }
}

template <typename Messages>
Head write(const Messages& messages) {
  return std::visit(
      []<typename Message>(const Message& message) {
        HeadWriter writer;
        writer.verb(kVerbOf<Message>);
        fields(writer, message);
        return Head{number_in(message), writer.take()};
      },
      messages);
}

template <typename Messages, std::size_t I = 0>
Messages read(Verb verb, std::span<const std::byte> bytes, std::string_view from, std::string_view kind) {
  if constexpr (I == std::variant_size_v<Messages>) {
    refuse(from, fmt::format("the unknown {} {}", kind, static_cast<int>(verb)));
  } else {
    using Message = std::variant_alternative_t<I, Messages>;
    if (verb != kVerbOf<Message>) return read<Messages, I + 1>(verb, bytes, from, kind);
    HeadReader reader(bytes.subspan(1));
    Message message;
    fields(reader, message);
    std::string fault = reader.fault();
    if (fault.empty()) fault = fault_in(message);
    if (!fault.empty()) refuse(from, fmt::format("a {} \"{}\" with {}", kind, to_string(verb), fault));
    return message;
  }
}

template <typename Messages>
Messages read(std::span<const std::byte> bytes, std::string_view from, std::string_view kind) {
  if (bytes.empty()) refuse(from, fmt::format("an empty {}", kind));
  return read<Messages>(static_cast<Verb>(bytes.front()), bytes, from, kind);
}

}  // namespace

Head write_request(const Request& request) { return write(request); }

Head write_answer(const Answer& answer) {
  const auto* refused = std::get_if<Refused>(&answer);
  if (refused == nullptr) return write(answer);
  Refused cut = *refused;
  cut.happened.resize(std::min(cut.happened.size(), kMaxReasonBytes));
  cut.advice.resize(std::min(cut.advice.size(), kMaxReasonBytes));
  return write(Answer{std::move(cut)});
}

Request read_request(std::span<const std::byte> bytes, std::string_view from) {
  return read<Request>(bytes, from, "request");
}

Answer read_answer(std::span<const std::byte> bytes, std::string_view from) {
  return read<Answer>(bytes, from, "answer");
}

std::uint64_t number_of(const Request& request) {
  return std::visit([](const auto& message) { return number_in(message); }, request);
}

std::uint64_t number_of(const Answer& answer) {
  return std::visit([](const auto& message) { return number_in(message); }, answer);
}

std::string_view to_string(Verb verb) noexcept {
  switch (verb) {
    case Verb::join: return "join";
    case Verb::make_key: return "make_key";
    case Verb::push: return "push";
    case Verb::pull: return "pull";
    case Verb::advance: return "advance";
    case Verb::beat: return "beat";
    case Verb::leave: return "leave";
    case Verb::joined: return "joined";
    case Verb::key_made: return "key_made";
    case Verb::accepted: return "accepted";
    case Verb::pulled: return "pulled";
    case Verb::refused: return "refused";
  }
  return "unknown";
}

}  // namespace gradwire::server
