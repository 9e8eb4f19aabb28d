#include "transport/tcp/tcp_connection.hpp"

#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/system_error.hpp"

namespace gradwire::transport {

TcpConnection::TcpConnection(base::UniqueFd socket, Inbox inbox, std::shared_ptr<LinkRate> rate)
    : socket_(std::move(socket)),
      rate_(std::move(rate)),
      inbox_(std::move(inbox)),
      outbox_(std::make_unique<Outbox>()) {
  // Without it a first frame counts from when it is read: a little slower, and right.
  const int on = 1;
  if (rate_) ::setsockopt(socket_.get(), SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
}

TcpConnection::~TcpConnection() { shut(); }

void TcpConnection::push(const wire::Header& header, std::span<const std::byte> payload) noexcept {
  outbox_->push(header, payload);
  if (rate_) note_waiting();
}

void TcpConnection::drop_outgoing() noexcept {
  outbox_->drop_all();
  if (rate_) note_waiting();
}

bool TcpConnection::write(Clock::time_point now) noexcept {
  bool moved = false;
  while (wants_write()) {
    const std::size_t most = rate_ ? rate_->out.allowed(outbox_->bytes(), now) : outbox_->bytes();
    if (most == 0) break;
    std::array<iovec, 2 * (Outbox::kFrames + 1)> parts;
    msghdr message = {};
    message.msg_iov = parts.data();
    message.msg_iovlen = outbox_->gather(parts, most);
    const ssize_t size = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (size < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) {
        writable_ = false;
      } else {
        break_off(errno);
      }
      break;
    }
    const auto sent = static_cast<std::size_t>(size);
    outbox_->sent(sent);
    bytes_sent_ += sent;
    moved = true;
    if (rate_) {
      rate_->out.take(sent, now);
      break;  // the others' turn
    }
  }
  if (rate_) note_waiting();
  return moved;
}

bool TcpConnection::read(Clock::time_point now) noexcept {
  bool moved = false;
  while (wants_read()) {
    auto space = inbox_.space();
    if (rate_) {
      note_waiting();
      space = space.first(std::min(space.size(), rate_->in.allowed(inbox_.missing(), now)));
    }
    if (space.empty()) break;
    auto arrived = now;
    const ssize_t size = receive(space, arrived);
    if (size < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) {
        readable_ = false;
        break;
      }
      detail_ = base::errno_text(errno);
    }
    if (size <= 0) {
      ended_ = true;
      moved = true;
      break;
    }
    moved = true;
    const auto received = static_cast<std::size_t>(size);
    inbox_.filled(received);
    if (rate_) {
      rate_->in.take(received, rate_->in.is_silent() ? arrived : now);
      break;  // the others' turn
    }
    // What came short was all there was; a hang-up has to be read to its end.
    if (received < space.size() && !hung_up_) {
      readable_ = false;
      break;
    }
  }
  if (rate_) note_waiting();
  return moved;
}

ssize_t TcpConnection::receive(std::span<std::byte> space, Clock::time_point& arrived) noexcept {
  if (!rate_) return ::recv(socket_.get(), space.data(), space.size(), MSG_DONTWAIT);
  iovec part = {space.data(), space.size()};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(timespec))> control;
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t size = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT);
  const cmsghdr* header = size > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
  if (header == nullptr || header->cmsg_type != SCM_TIMESTAMPNS) return size;
  timespec stamp = {};
  std::memcpy(&stamp, CMSG_DATA(header), sizeof stamp);
  // The kernel's stamp is wall time, which somebody may set meanwhile: no age is below 0 or above what
  // counts.
  const auto wall = std::chrono::seconds(stamp.tv_sec) + std::chrono::nanoseconds(stamp.tv_nsec);
  const auto age = std::chrono::system_clock::now().time_since_epoch() - wall;
  arrived = Clock::now() - std::clamp<std::chrono::nanoseconds>(age, {}, std::chrono::milliseconds(1));
  return size;
}

void TcpConnection::note_waiting() noexcept {
  const auto note = [](bool waits, bool& noted, TokenBucket& bucket) {
    if (waits && !noted) bucket.begin_waiting();
    if (!waits && noted) bucket.end_waiting();
    noted = waits;
  };
  note(!outbox_->is_empty(), waits_out_, rate_->out);
  note(!has_ended() && (readable_ || inbox_.in_frame()), waits_in_, rate_->in);
}

void TcpConnection::break_off(int error) noexcept {
  // Only the reading side decides how the peer ended: an abort may wait there.
  broken_ = true;
  expect_input();
  detail_ = base::errno_text(error);
  outbox_->drop_all();
}

void TcpConnection::on_events(std::uint32_t events) noexcept {
  if ((events & EPOLLIN) != 0) readable_ = true;
  if ((events & EPOLLOUT) != 0) writable_ = true;
  // Both directions are closed: what was not acknowledged by now never will be.
  if ((events & (EPOLLHUP | EPOLLERR)) != 0) broken_ = true;
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) expect_input();
}

bool TcpConnection::can_move(Clock::time_point now) noexcept {
  if (wants_write() && (!rate_ || rate_->out.allowed(outbox_->bytes(), now) > 0)) return true;
  return wants_read() && (!rate_ || rate_->in.allowed(inbox_.missing(), now) > 0);
}

Clock::time_point TcpConnection::due() const noexcept {
  auto when = Clock::time_point::max();
  if (!rate_) return when;
  if (wants_write()) when = std::min(when, rate_->out.when(outbox_->bytes()));
  if (readable_ && !has_ended() && !inbox_.is_full()) when = std::min(when, rate_->in.when(inbox_.missing()));
  return when;
}

bool TcpConnection::is_flushed() const noexcept {
  if (broken_ || ended_ || !socket_) return true;
  int unacknowledged = 0;
  return outbox_->is_empty() &&
         (::ioctl(socket_.get(), SIOCOUTQ, &unacknowledged) != 0 || unacknowledged == 0);
}

void TcpConnection::shut() noexcept {
  if (outbox_) outbox_->drop_all();
  broken_ = true;
  if (!socket_) return;
  if (rate_) {
    if (std::exchange(waits_out_, false)) rate_->out.end_waiting();
    if (std::exchange(waits_in_, false)) rate_->in.end_waiting();
  }
  // The stream ends even where a forked child still holds the socket.
  ::shutdown(socket_.get(), SHUT_RDWR);
  socket_.reset();
  ended_ = true;
}

LinkEnd TcpConnection::end() const {
  if (inbox_.end().kind != LinkEnd::Kind::open || !ended_) return inbox_.end();
  LinkEnd died;
  died.kind = LinkEnd::Kind::died;
  died.detail = !detail_.empty()    ? detail_
                : inbox_.in_frame() ? "the connection ended inside a frame"
                                    : "the connection ended";
  return died;
}

}  // namespace gradwire::transport
