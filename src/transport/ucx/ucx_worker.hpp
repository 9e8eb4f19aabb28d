#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "base/blocked_signals.hpp"
#include "transport/transport.hpp"
#include "transport/ucx/ucx_envelope.hpp"
#include "transport/ucx/ucx_request.hpp"

namespace gradwire::transport {

/// What came behind a message's head. By rendezvous it is still the sender's, to be fetched by receive();
/// else `place` is where it lies.
struct UcxData {
  void* place = nullptr;
  std::size_t bytes = 0;
  bool is_rendezvous = false;
};

/// Who is told of what comes from one peer. Called while the worker makes progress.
class UcxReceiver {
 public:
  /// `header` is what follows the envelope, valid during the call. UCS_INPROGRESS keeps the data, until
  /// release() or a receive() that has begun; UCS_OK lets go of it.
  virtual ucs_status_t on_message(const UcxEnvelope& envelope, std::span<const std::byte> header,
                                  const UcxData& data) noexcept = 0;
  /// UCX cannot reach the peer any more.
  virtual void on_failure(ucs_status_t status) noexcept = 0;

 protected:
  ~UcxReceiver() = default;
};

/// One rank's part in UCX, with one way to each peer, shared by the links. Not thread-safe.
class UcxWorker {
 public:
  /// `token` is what this rank publishes. Throws Error: unsupported, where UCX has nothing to work with, or
  /// system.
  UcxWorker(int world_size, std::uint64_t token, const UcxLibrary& ucx = UcxLibrary::get());
  ~UcxWorker();
  UcxWorker(const UcxWorker&) = delete;
  UcxWorker& operator=(const UcxWorker&) = delete;

  [[nodiscard]] const UcxLibrary& library() const noexcept { return ucx_; }
  [[nodiscard]] std::uint64_t token() const noexcept { return token_; }
  /// Opaque bytes by which peers find this rank.
  [[nodiscard]] const std::string& address() const noexcept { return address_; }

  void attach(int peer, UcxReceiver& receiver);
  /// Nothing moves to or from the peer any more. The last to be left ends the worker, and with it every loan
  /// of memory; until then what UCX may still touch has to stay: see keep().
  void leave(int peer) noexcept;
  template <typename Memory>
  void keep(std::unique_ptr<Memory> memory) noexcept {
    try {
      kept_.emplace_back();
      kept_.back() = std::move(memory);
    } catch (...) {
      // Out of memory: rather lose some than free what UCX may still write to.
      static_cast<void>(memory.release());
    }
  }

  /// Opens a way to the peer, in place of the one there was. What is not UCS_OK says why there is none.
  [[nodiscard]] ucs_status_t open(int peer, const std::string& address);
  /// `head` and `payload` are lent until the request has ended. `flags` are UCX's.
  [[nodiscard]] UcxRequest send(int peer, std::span<const std::byte> head, std::span<const std::byte> payload,
                                std::uint32_t flags = 0) noexcept;
  /// Ends when all that was sent to the peer has left this process.
  [[nodiscard]] UcxRequest flush(int peer) noexcept;
  [[nodiscard]] UcxRequest receive(const UcxData& data, std::span<std::byte> place) noexcept;
  void release(void* place) noexcept;

  /// Moves bytes; whether a message or a failure came since this was asked last. UCX also looks after itself,
  /// which is no sign that a peer makes progress.
  bool advance() noexcept;
  /// Whether advance() has something to do; moves bytes to find out, unless armed.
  [[nodiscard]] bool has_news() noexcept;
  /// How often bytes were moved, or looked for.
  [[nodiscard]] std::uint64_t moves() const noexcept { return moves_; }
  /// The last move that found nothing to do.
  [[nodiscard]] std::uint64_t idle_move() const noexcept { return idle_move_; }
  /// Readable when an armed worker has something to do. It has news where arming failed.
  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
  void arm() noexcept;
  void disarm() noexcept { is_armed_ = false; }

 private:
  struct Way {
    UcxReceiver* receiver = nullptr;
    ucp_ep_h endpoint = nullptr;
  };
  using Context = std::unique_ptr<std::remove_pointer_t<ucp_context_h>, decltype(UcxLibrary::cleanup)>;
  using Worker = std::unique_ptr<std::remove_pointer_t<ucp_worker_h>, decltype(UcxLibrary::worker_destroy)>;

  static ucs_status_t on_message(void* self, const void* head, std::size_t head_bytes, void* data,
                                 std::size_t bytes, const ucp_am_recv_param_t* details);
  static void on_failure(void* self, ucp_ep_h endpoint, ucs_status_t status);
  [[nodiscard]] Context make_context(int world_size) const;
  void begin();
  [[nodiscard]] ucs_status_t make_worker();
  [[nodiscard]] std::string find_address() const;
  void listen();
  void move() noexcept;
  void close(Way& way) noexcept;
  void end() noexcept;
  [[nodiscard]] Way& way(int peer) noexcept { return ways_[static_cast<std::size_t>(peer)]; }

  const UcxLibrary& ucx_;
  std::optional<base::BlockedSignals> blocked_{std::in_place};  ///< while UCX may start threads of its own
  std::uint64_t token_;
  Context context_;
  Worker worker_;
  std::string address_;
  int descriptor_ = -1;
  std::vector<Way> ways_;  ///< by rank
  int attached_ = 0;
  std::vector<UcxRequest> closing_;
  std::vector<std::shared_ptr<void>> kept_;
  bool is_armed_ = false;
  std::uint64_t moves_ = 0;
  std::uint64_t idle_move_ = 0;
  bool news_ = false;   ///< for advance()
  bool stirs_ = false;  ///< something may be left to do
};

}  // namespace gradwire::transport
