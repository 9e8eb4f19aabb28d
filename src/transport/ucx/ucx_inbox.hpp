#pragma once

#include <array>
#include <memory>
#include <optional>

#include "transport/ucx/ucx_outbox.hpp"

namespace gradwire::transport {

/// The frames that come from one peer, in the order of their numbers, whatever order UCX brings them in. Not
/// thread-safe.
class UcxInbox {
 public:
  UcxInbox(std::shared_ptr<UcxWorker> worker, int peer);
  ~UcxInbox();
  UcxInbox(const UcxInbox&) = delete;
  UcxInbox& operator=(const UcxInbox&) = delete;

  /// A frame that has come, or is to be fetched. Returns what UcxReceiver::on_message() does. Throws
  /// Error(corrupt_frame, version_mismatch).
  ucs_status_t take(std::uint64_t number, std::span<const std::byte> header, const UcxData& data);
  /// The peer sends so many frames and no more. Throws Error(corrupt_frame).
  void promise(std::uint64_t frames);
  /// Looks whether the next frame has been fetched; whether something came of it.
  bool advance() noexcept;
  /// The next frame, or null. Throws Error(corrupt_frame).
  const Frame* front();
  void pop();
  /// Gives UCX all back that has not been taken. Nothing comes afterwards.
  void let_go() noexcept;

  [[nodiscard]] std::uint64_t taken() const noexcept { return taken_; }
  /// Whether all that was promised has come, or is being fetched.
  [[nodiscard]] bool has_all() const noexcept { return promised_ == arrived_; }
  /// Whether all that was promised has been taken.
  [[nodiscard]] bool is_at_end() const noexcept { return promised_ == taken_; }
  /// UCS_OK, or why the first that could not be fetched was not.
  [[nodiscard]] ucs_status_t failure() const noexcept { return failure_; }

 private:
  struct Arrival {
    enum class State : std::uint8_t { none, coming, there };
    State state = State::none;
    Frame frame;
    void* held = nullptr;  ///< UCX's, to be released
    UcxRequest request;    ///< of one that is coming
  };
  /// What UCX may write until its worker ends.
  struct Memory {
    std::array<Arrival, kUcxWindow> arrivals;  ///< frame n at n % kUcxWindow
    /// For payloads that are fetched, likewise; untouched memory costs nothing.
    std::unique_ptr<std::byte[]> places =
        std::make_unique_for_overwrite<std::byte[]>(kUcxWindow * wire::kMaxPayload);
  };

  [[nodiscard]] Arrival& next() noexcept { return memory_->arrivals[taken_ % kUcxWindow]; }
  void check(const Frame& frame) const;
  void release(Arrival& arrival) noexcept;
  [[noreturn]] void refuse(const std::string& what) const;

  std::shared_ptr<UcxWorker> worker_;
  int peer_;
  std::unique_ptr<Memory> memory_ = std::make_unique<Memory>();
  ucs_status_t failure_ = UCS_OK;
  std::uint64_t arrived_ = 0;  ///< or coming
  std::uint64_t taken_ = 0;
  std::optional<std::uint64_t> promised_;
  bool front_checked_ = false;
};

}  // namespace gradwire::transport
