#pragma once

#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "gradwire/export.hpp"

namespace gradwire {

/// What went wrong, in numbers that never change meaning. docs/errors.md says what to do after each.
/// The gaps leave room for relatives of each kind.
enum class ErrorCode : int {
  invalid_argument = 10,  ///< A value that the caller passed; nothing was sent.
  unsupported = 20,       ///< A valid request that this build, transport or codec cannot serve.
  timeout = 30,           ///< No progress for the whole timeout.
  peer_lost = 40,         ///< A rank died or closed its communicator while it was needed.
  corrupt_frame = 50,     ///< Bytes from a peer that no correct peer sends.
  version_mismatch = 60,  ///< A peer speaks another version of the protocol, or belongs to another job.
  order_mismatch = 70,    ///< Ranks submitted different operations, or the same ones in another order.
  non_finite = 80,  ///< A NaN or an infinity in the input of a lossy operation, on any rank, or in a key's
                    ///< first values.
  system = 90,      ///< The operating system refused something.
};

/// "timeout", "peer_lost", ...: the enumerator's name.
GRADWIRE_EXPORT std::string_view to_string(ErrorCode code) noexcept;

/// The one exception type of the library. what() reads "<code>: <what happened>; <what to do next>".
class GRADWIRE_EXPORT Error : public std::runtime_error {
 public:
  /// `happened` names the peer or file it concerns; `advice` says what to do next.
  Error(ErrorCode code, std::string_view happened, std::string_view advice,
        std::optional<int> peer = std::nullopt);

  [[nodiscard]] ErrorCode code() const noexcept { return code_; }
  /// The rank the error concerns: the one that died, sent garbage, or disagreed. Of a parameter server, its
  /// index.
  [[nodiscard]] std::optional<int> peer() const noexcept { return peer_; }
  /// The same, but for the peer.
  [[nodiscard]] Error with_peer(int peer) const {
    Error error(*this);
    error.peer_ = peer;
    return error;
  }

 private:
  ErrorCode code_;
  std::optional<int> peer_;
};

}  // namespace gradwire
