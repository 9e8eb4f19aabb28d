#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "transport/stream_links.hpp"

struct ncclComm;  // NOLINT(readability-identifier-naming)

/// NCCL, as seen by those who know nothing of it. Its library is loaded when something of it is first asked
/// for. Where it was left out of the build, or cannot be loaded, asking is Error(unsupported).
namespace gradwire::transport {

/// One line for `gradwire info`; what is wrong is in it.
[[nodiscard]] std::string nccl_information();

/// Of the library: 22803, of which the text is "2.28.3".
[[nodiscard]] int nccl_version();
[[nodiscard]] std::string nccl_version_text(int version);

/// By which the ranks of a communicator find each other.
using NcclId = std::array<std::uint8_t, 128>;
[[nodiscard]] NcclId make_nccl_id();

/// Links of an NCCL communicator of their own, to which all ranks come with the same id. `device` is current.
/// Throws Error: timeout; unsupported, system, peer_lost.
[[nodiscard]] std::unique_ptr<StreamLinks> make_nccl_links(const NcclId& id, int rank, int ranks, int device,
                                                           std::chrono::milliseconds timeout);

/// Links of a communicator that stays the caller's. Throws Error(invalid_argument, unsupported).
[[nodiscard]] std::unique_ptr<StreamLinks> adopt_nccl_links(::ncclComm* communicator,
                                                            std::chrono::milliseconds timeout);

}  // namespace gradwire::transport
