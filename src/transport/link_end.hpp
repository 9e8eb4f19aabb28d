#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "gradwire/error.hpp"

namespace gradwire::transport {

/// How a peer's stream of frames ended, or that it has not.
struct LinkEnd {
  enum class Kind : std::uint8_t {
    open,
    goodbye,  ///< closed on purpose; an error only for who still needs the peer
    abort,    ///< the peer failed and says whom it blames
    died,     ///< ended without a word
    garbage,  ///< sent what no correct peer sends: the error is in `garbage`
  };

  Kind kind = Kind::open;
  int origin = -1;                        ///< abort: the rank to blame
  ErrorCode code = ErrorCode::peer_lost;  ///< abort: what happened to it
  std::string detail;                     ///< died: what the system said
  std::optional<Error> garbage = std::nullopt;

  /// Whether an operation fails by it although the peer may not be needed.
  [[nodiscard]] bool is_failure() const noexcept { return kind != Kind::open && kind != Kind::goodbye; }
  /// What to throw to somebody who needs `peer`. Not for an open end.
  [[nodiscard]] Error to_error(int peer) const;

  /// The end in one word, as shared memory carries it: 0 is open. `garbage` and `detail` stay here.
  [[nodiscard]] std::uint64_t to_word() const noexcept;
  /// The end that a peer's word means; nonsense in it becomes `died`, and so does blame for a rank
  /// outside the world.
  [[nodiscard]] static LinkEnd from_word(std::uint64_t word, int world_size);
};

/// The end to announce to all others after `cause` ended an operation on `rank`.
[[nodiscard]] LinkEnd blame(const Error& cause, int rank);

/// The code of a number from the wire; nullopt when no such code exists.
[[nodiscard]] std::optional<ErrorCode> to_error_code(std::uint32_t number) noexcept;

}  // namespace gradwire::transport
