#pragma once

#include <cstddef>
#include <span>

#include "collectives/layout.hpp"
#include "compress/codec.hpp"
#include "wire/header.hpp"

namespace gradwire::collectives {

// Whether a frame is the one that its receiver waits for, before anything of it is used.

/// `due` is what its sender should have written. Throws Error naming the sender: order_mismatch when the
/// frame belongs to another operation, corrupt_frame when it is another frame of the same.
void check_header(const wire::Header& header, const wire::Header& due, int rank,
                  const compress::Codec& codec);

/// The payload of a segment's `pieces`. Throws Error(corrupt_frame) naming the peer.
void check_payload(std::span<const std::byte> payload, std::span<const Piece> pieces,
                   const compress::Codec& codec, int peer);

}  // namespace gradwire::collectives
