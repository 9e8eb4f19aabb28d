#include "collectives/frame_check.hpp"

#include <fmt/format.h>

#include "gradwire/error.hpp"
#include "gradwire/tensor.hpp"

namespace gradwire::collectives {

void check_header(const wire::Header& header, const wire::Header& due, int rank,
                  const compress::Codec& codec) {
  const int peer = static_cast<int>(due.sender);
  // First, since the other fields of another kind mean something else.
  if (header.kind != due.kind) {
    throw Error(
        ErrorCode::corrupt_frame,
        fmt::format("rank {} sent a frame of kind {} where chunk {} segment {} of operation {} was due", peer,
                    static_cast<int>(header.kind), due.chunk, due.segment, due.operation),
        "check that all ranks run the same build of gradwire", peer);
  }
  if (header.operation != due.operation || header.order_hash != due.order_hash) {
    throw Error(
        ErrorCode::order_mismatch,
        fmt::format(
            "rank {} runs another operation than this rank ({}): its frame belongs to operation {} with hash "
            "{:016x}, codec {}, dtype {}, {} elements, expected is operation {} with hash {:016x}, codec {}",
            peer, rank, header.operation, header.order_hash, header.codec,
            to_string(static_cast<DType>(header.dtype)), header.count, due.operation, due.order_hash,
            codec.spec()),
        "submit the same operations with the same sizes, dtypes and codecs in the same order on every rank",
        peer);
  }
  if (header.chunk != due.chunk || header.segment != due.segment || header.count != due.count ||
      header.codec != due.codec || header.layer != due.layer || header.sender != due.sender) {
    throw Error(
        ErrorCode::corrupt_frame,
        fmt::format("rank {} sent chunk {} segment {} ({} elements, codec {}) where chunk {} segment {} "
                    "({} elements, codec {}) was due",
                    peer, header.chunk, header.segment, header.count, header.codec, due.chunk, due.segment,
                    due.count, due.codec),
        "check that all ranks run the same build of gradwire", peer);
  }
}

void check_payload(std::span<const std::byte> payload, std::span<const Piece> pieces,
                   const compress::Codec& codec, int peer) {
  bool valid = true;
  std::span<const std::byte> rest = payload;
  for (const Piece& piece : pieces) {
    const std::size_t length = pieces.size() == 1 ? rest.size() : codec.max_payload(piece.count);
    valid = valid && length <= rest.size() && codec.valid(rest.first(length), piece.count);
    if (!valid) break;
    rest = rest.subspan(length);
  }
  if (!valid || !rest.empty()) {
    throw Error(ErrorCode::corrupt_frame,
                fmt::format("rank {} sent a payload of {} bytes that {} never writes", peer, payload.size(),
                            codec.spec()),
                "check the network and that all ranks run the same build of gradwire", peer);
  }
}

}  // namespace gradwire::collectives
