#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <optional>

#include "transport/nccl/nccl_abort.hpp"
#include "transport/nccl/nccl_library.hpp"
#include "transport/nccl/nccl_links.hpp"
#include "transport/stream_links.hpp"

namespace gradwire::transport {

/// Links that are an NCCL communicator.
class NcclCommLinks final : public StreamLinks {
 public:
  /// A communicator of its own. See make_nccl_links().
  NcclCommLinks(const NcclLibrary& library, const NcclId& id, int rank, int ranks, int device,
                std::chrono::milliseconds timeout);
  /// Somebody else's. See adopt_nccl_links().
  NcclCommLinks(const NcclLibrary& library, ncclComm_t communicator, std::chrono::milliseconds timeout);
  ~NcclCommLinks() override;
  NcclCommLinks(const NcclCommLinks&) = delete;
  NcclCommLinks& operator=(const NcclCommLinks&) = delete;

  [[nodiscard]] int rank() const noexcept override { return rank_; }
  [[nodiscard]] int ranks() const noexcept override { return ranks_; }
  [[nodiscard]] int device() const noexcept override { return device_; }

  void begin_group() override;
  void end_group() override;
  void send(int peer, const std::byte* bytes, std::size_t count, ::CUstream_st* stream) override;
  void receive(int peer, std::byte* bytes, std::size_t count, ::CUstream_st* stream) override;
  void all_reduce(float* values, std::size_t count, bool average, ::CUstream_st* stream) override;
  void check() override;
  void interrupt() noexcept override { is_interrupted_ = true; }
  bool abort() noexcept override;

 private:
  using Clock = std::chrono::steady_clock;

  /// Throws what NCCL answers. A communicator of ours is not waited for inside of NCCL.
  void require(ncclResult_t result, const char* doing);
  /// What it answers when it is no longer busy; ncclInProgress after the deadline, or when interrupted.
  [[nodiscard]] ncclResult_t settled(ncclResult_t result, Clock::time_point deadline) const;
  /// Why it is still ncclInProgress.
  [[nodiscard]] Error unsettled(const char* doing) const;

  const NcclLibrary& library_;
  ncclComm_t communicator_ = nullptr;  ///< null: aborted
  bool is_ours_;
  std::chrono::milliseconds timeout_;
  std::atomic<bool> is_interrupted_{false};
  bool in_group_ = false;
  int rank_ = 0;
  int ranks_ = 1;
  int device_ = 0;
  std::optional<NcclAbort> abort_;
};

}  // namespace gradwire::transport
