#pragma once

#include <memory>
#include <string>

#include "base/unique_fd.hpp"
#include "transport/tcp/inbox.hpp"
#include "transport/tcp/outbox.hpp"
#include "transport/tcp/token_bucket.hpp"

namespace gradwire::transport {

/// One socket of a link, what waits to go out through it and what came in. Not thread-safe.
class TcpConnection {
 public:
  /// `rate` may be null. Throws Error(system).
  TcpConnection(base::UniqueFd socket, Inbox inbox, std::shared_ptr<LinkRate> rate);
  ~TcpConnection();
  TcpConnection(TcpConnection&&) noexcept = default;
  TcpConnection& operator=(TcpConnection&&) = delete;
  TcpConnection(const TcpConnection&) = delete;
  TcpConnection& operator=(const TcpConnection&) = delete;

  /// Queues; the outbox must have a place.
  void push(const wire::Header& header, std::span<const std::byte> payload) noexcept;
  /// Gives all payloads back; what was not sent is lost.
  void drop_outgoing() noexcept;

  bool write(Clock::time_point now) noexcept;
  bool read(Clock::time_point now) noexcept;
  void on_events(std::uint32_t events) noexcept;
  /// The next read() asks the kernel, whatever it said before.
  void expect_input() noexcept { readable_ = hung_up_ = true; }

  [[nodiscard]] bool can_move(Clock::time_point now) noexcept;
  [[nodiscard]] Clock::time_point due() const noexcept;
  /// Whether the peer's kernel has everything, or nothing more can reach it.
  [[nodiscard]] bool is_flushed() const noexcept;
  void shut() noexcept;

  [[nodiscard]] Inbox& inbox() noexcept { return inbox_; }
  [[nodiscard]] const Outbox& outbox() const noexcept { return *outbox_; }
  /// How the peer's stream ended: what the inbox says, or died.
  [[nodiscard]] LinkEnd end() const;
  [[nodiscard]] bool has_ended() const noexcept { return ended_ || inbox_.end().kind != LinkEnd::Kind::open; }
  [[nodiscard]] std::uint64_t bytes_sent() const noexcept { return bytes_sent_; }
  [[nodiscard]] int fd() const noexcept { return socket_.get(); }

 private:
  [[nodiscard]] bool wants_write() const noexcept { return writable_ && !outbox_->is_empty(); }
  [[nodiscard]] bool wants_read() noexcept { return readable_ && !has_ended() && !inbox_.space().empty(); }
  void note_waiting() noexcept;
  /// Like ::recv; `arrived` is set to when the kernel got the bytes, where it says so.
  [[nodiscard]] ssize_t receive(std::span<std::byte> space, Clock::time_point& arrived) noexcept;
  void break_off(int error) noexcept;

  base::UniqueFd socket_;
  std::shared_ptr<LinkRate> rate_;
  Inbox inbox_;
  std::unique_ptr<Outbox> outbox_;
  // The socket is watched edge-triggered: these remember what the kernel said until it says EAGAIN.
  bool readable_ = true;
  bool writable_ = true;
  bool hung_up_ = false;  ///< the stream is finite: read it to its end
  bool ended_ = false;    ///< read to its end
  bool broken_ = false;   ///< nothing can be written any more
  bool waits_out_ = false;
  bool waits_in_ = false;
  std::string detail_;
  std::uint64_t bytes_sent_ = 0;
};

}  // namespace gradwire::transport
