#include "server/messages.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <concepts>
#include <string>
#include <type_traits>
#include <utility>

#include "gradwire/error.hpp"
#include "server/head_bytes.hpp"

namespace gradwire::server {
namespace {

template <typename T, typename Message>
concept Is = std::same_as<std::remove_const_t<T>, Message>;

// The fields of every message in the order of their bytes, once for both ways: `io` is a HeadWriter or a
// HeadReader.

void fields(auto& io, Is<Join> auto& join) {
  io.numbers(join.session, join.worker, join.workers, join.server, join.servers);
  io.mode(join.consistency.mode);
  io.numbers(join.consistency.staleness);
  io.text(join.push_codec, "push codec", 1, kMaxSpecBytes);
  io.text(join.pull_codec, "pull codec", 1, kMaxSpecBytes);
  io.text(join.settings, "text of settings", 0, kMaxSettingsBytes);
}

void fields(auto& io, Is<MakeKey> auto& make) {
  io.numbers(make.request);
  io.text(make.key, "key", 1, kMaxKeyBytes);
  io.text(make.optimizer, "optimizer", 1, kMaxSpecBytes);
  io.numbers(make.total, make.first, make.count);
}

void fields(auto& io, Is<Push> auto& push) { io.numbers(push.sequence, push.shard, push.clock); }

void fields(auto& io, Is<Pull> auto& pull) {
  io.numbers(pull.request, pull.shard, pull.clock, pull.incarnation, pull.version);
}

void fields(auto& io, Is<Advance> auto& advance) { io.numbers(advance.clock); }
void fields(auto& /*io*/, Is<Beat> auto& /*beat*/) {}
void fields(auto& /*io*/, Is<Leave> auto& /*leave*/) {}

void fields(auto& io, Is<Joined> auto& joined) {
  io.numbers(joined.incarnation, joined.clock, joined.sequence, joined.lease_ms, joined.shards,
             joined.origin);
}

void fields(auto& io, Is<KeyMade> auto& made) {
  io.numbers(made.request, made.shard, made.version, made.count);
}

void fields(auto& io, Is<Accepted> auto& accepted) { io.numbers(accepted.sequence); }

void fields(auto& io, Is<Pulled> auto& pulled) {
  io.numbers(pulled.request, pulled.version, pulled.clock, pulled.sealed);
  io.flag(pulled.whole);
}

void fields(auto& io, Is<Refused> auto& refused) {
  io.verb(refused.verb);
  io.numbers(refused.request);
  io.code(refused.code);
  io.text(refused.happened, "reason", 0, kMaxReasonBytes);
  io.text(refused.advice, "advice", 0, kMaxReasonBytes);
}

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
std::string fault_in_clock(std::uint64_t clock) {
  return clock > kMaxClock ? fmt::format("the clock {}", clock) : "";
}
std::string fault_in(const Push& push) {
  return push.sequence == 0 ? "the sequence number 0" : fault_in_clock(push.clock);
}
std::string fault_in(const Pull& pull) { return fault_in_clock(pull.clock); }
std::string fault_in(const Advance& advance) { return fault_in_clock(advance.clock); }
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

[[noreturn]] void refuse(std::string_view from, std::string_view what) {
  reject(fmt::format("{} sent {}", from, what));
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
        writer.verb(Message::kVerb);
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
    if (verb != Message::kVerb) return read<Messages, I + 1>(verb, bytes, from, kind);
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

Verb verb_of(const Request& request) {
  return std::visit([]<typename Message>(const Message& /*message*/) { return Message::kVerb; }, request);
}

std::uint64_t number_of(const Answer& answer) {
  return std::visit([](const auto& message) { return number_in(message); }, answer);
}

void reject(const std::string& what) { throw Error(ErrorCode::corrupt_frame, what, kSameVersion); }

Refused refusal(Verb verb, std::uint64_t request, const Error& error) {
  // what() is "code: happened; advice", and is put together again on the other side.
  const std::string_view all = error.what();
  const std::string_view text = all.substr(to_string(error.code()).size() + 2);
  const auto end = text.rfind("; ");
  return {verb, request, error.code(), std::string(text.substr(0, end)),
          end == std::string_view::npos ? "" : std::string(text.substr(end + 2))};
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
