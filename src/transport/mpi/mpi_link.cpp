#include "transport/mpi/mpi_link.hpp"

#include <fmt/format.h>

#include <cstring>
#include <exception>
#include <new>
#include <utility>

#include "base/checksum.hpp"
#include "transport/mpi/mpi_library.hpp"

namespace gradwire::transport {
namespace {

constexpr std::size_t kSlotBytes = wire::kHeaderBytes + wire::kMaxPayload;
/// So many taken frames are worth a note.
constexpr std::uint64_t kFramesPerNote = kMpiFrames / 2;
/// Where a message would have its size.
constexpr int kNone = -1;

}  // namespace

/// Pages that no frame reached were never touched.
struct MpiLink::Memory : MpiMemory {
  [[nodiscard]] std::byte* in(std::size_t slot) const noexcept { return frames_in.get() + slot * kSlotBytes; }
  [[nodiscard]] std::byte* out(std::size_t slot) const noexcept {
    return frames_out.get() + slot * kSlotBytes;
  }

  std::unique_ptr<std::byte[]> frames_in = std::make_unique_for_overwrite<std::byte[]>(kSlots * kSlotBytes);
  std::unique_ptr<std::byte[]> frames_out = std::make_unique_for_overwrite<std::byte[]>(kSlots * kSlotBytes);
  Note note_in{};
  Note note_out{};
  Note end_out{};
};

MpiLink::MpiLink(const LinkIdentity& identity, MpiTag own_tag, const MpiAddress& peer,
                 std::shared_ptr<MpiPort> port)
    : PeerLink(identity.peer),
      identity_(identity),
      own_tag_(own_tag),
      address_(peer),
      port_(std::move(port)),
      memory_(std::make_unique<Memory>()) {
  memory_->requests.reserve(2 * kRequests);  // with one for each receive that is ended
  sizes_.fill(kNone);
  first_ = port_->add(*this);
  for (std::size_t slot = 0; slot < kSlots; ++slot) expect_frame(slot);
  expect_note();
}

MpiLink::~MpiLink() {
  LinkEnd died;
  died.kind = LinkEnd::Kind::died;
  send_end(died);
  shut();
}

bool MpiLink::try_send(const wire::Header& header, std::span<const std::byte> payload) {
  check_size(payload.size());
  if (peer_end_.kind != LinkEnd::Kind::open) throw peer_end_.to_error(peer());
  count_completed();
  if (sent_ - completed_ >= kMpiFrames || sent_ - taken_there_ >= kMpiFrames) return false;
  const std::size_t slot = sent_ % kMpiFrames;
  std::byte* const out = memory_->out(slot);
  wire::Header sent = header;
  sent.payload_bytes = static_cast<std::uint32_t>(payload.size());
  sent.flags = static_cast<std::uint16_t>(sent.flags | wire::kFlagPayloadCrc);
  sent.payload_crc = base::crc32c(payload);
  wire::write_header(sent, std::span<std::byte, wire::kHeaderBytes>(out, wire::kHeaderBytes));
  if (!payload.empty()) std::memcpy(out + wire::kHeaderBytes, payload.data(), payload.size());
  const std::size_t size = wire::kHeaderBytes + payload.size();
  check(MPI_Isend(out, static_cast<int>(size), MPI_BYTE, address_.process, address_.tag,
                  port_->processes().communicator(), &request(kFramesOut + slot)));
  ++sent_;
  bytes_sent_ += size;
  port_->expect_news();
  return true;
}

void MpiLink::count_completed() noexcept {
  while (completed_ < sent_ && is_idle(kFramesOut + completed_ % kMpiFrames)) ++completed_;
}

const Frame* MpiLink::front() {
  if (taken_ == arrived_) {
    if (peer_end_.kind != LinkEnd::Kind::open) throw peer_end_.to_error(peer());
    return nullptr;
  }
  if (!front_checked_) {
    const std::size_t slot = taken_ % kSlots;
    front_.header = headers_[slot];
    front_.payload = {memory_->in(slot) + wire::kHeaderBytes, front_.header.payload_bytes};
    const bool has_checksum = (front_.header.flags & wire::kFlagPayloadCrc) != 0;
    if (!has_checksum || base::crc32c(front_.payload) != front_.header.payload_crc) {
      end_with_garbage({ErrorCode::corrupt_frame,
                        fmt::format("rank {} sent a payload of {} bytes {}", peer(), front_.payload.size(),
                                    has_checksum ? "that its checksum does not fit" : "without a checksum"),
                        "check the network and the memory of both hosts, then restart the job", peer()});
      throw peer_end_.to_error(peer());
    }
    front_checked_ = true;
  }
  return &front_;
}

void MpiLink::pop() {
  front_checked_ = false;
  const std::size_t slot = taken_ % kSlots;
  sizes_[slot] = kNone;
  expect_frame(slot);
  ++taken_;
  note_what_was_taken();
}

bool MpiLink::advance(Clock::time_point now) {
  port_->poll(now);
  return std::exchange(news_, false);
}

bool MpiLink::has_news(Clock::time_point now) noexcept {
  port_->poll(now);
  return news_;
}

void MpiLink::complete(std::size_t place, const MPI_Status& status, int error) noexcept {
  news_ = true;
  try {
    int kind = MPI_SUCCESS;
    if (error != MPI_SUCCESS) MPI_Error_class(error, &kind);
    if (kind == MPI_ERR_TRUNCATE) refuse("a message that is too long");
    if (error != MPI_SUCCESS) return lose(MpiErrorText(error).view());
    if ((place < kFramesOut || place == kNoteIn) && status.MPI_SOURCE != address_.process) {
      throw Error(ErrorCode::corrupt_frame,
                  fmt::format("process {} of MPI's sent as rank {}, which is process {}", status.MPI_SOURCE,
                              peer(), address_.process),
                  "give this job a store of its own", peer());
    }
    if (place == kNoteIn) {
      look_at_note(status);
    } else if (place < kFramesOut) {
      MPI_Get_count(&status, MPI_BYTE, &sizes_[place - kFramesIn]);
      look_at_frames();
    } else if (place == kNoteOut) {
      note_what_was_taken();
    } else {
      count_completed();
    }
  } catch (const Error& garbage) {
    end_with_garbage(garbage);
  } catch (const std::exception&) {
    lose("out of memory");
  }
}

void MpiLink::expect_frame(std::size_t slot) noexcept {
  check(MPI_Irecv(memory_->in(slot), static_cast<int>(kSlotBytes), MPI_BYTE, MPI_ANY_SOURCE, own_tag_,
                  port_->processes().communicator(), &request(kFramesIn + slot)));
}

void MpiLink::expect_note() noexcept {
  check(MPI_Irecv(memory_->note_in.data(), static_cast<int>(memory_->note_in.size()), MPI_UINT64_T,
                  MPI_ANY_SOURCE, own_tag_ + 1, port_->processes().communicator(), &request(kNoteIn)));
}

void MpiLink::refuse(std::string_view what) const {
  throw Error(ErrorCode::corrupt_frame, fmt::format("rank {} sent {}", peer(), what),
              "install the same gradwire on all hosts, then restart the job", peer());
}

void MpiLink::look_at_frames() {
  // MPI matches messages in their order, but may finish a small one before a large one that came first.
  while (peer_end_.kind != LinkEnd::Kind::garbage && arrived_ - taken_ < kSlots &&
         sizes_[arrived_ % kSlots] != kNone) {
    const std::size_t slot = arrived_ % kSlots;
    const auto size = static_cast<std::size_t>(sizes_[slot]);
    if (size < wire::kHeaderBytes) refuse("less than a header");
    const auto header = wire::read_header(
        std::span<const std::byte, wire::kHeaderBytes>(memory_->in(slot), wire::kHeaderBytes), peer());
    if (header.kind == wire::FrameKind::goodbye) {
      if (peer_end_.kind == LinkEnd::Kind::open) peer_end_.kind = LinkEnd::Kind::goodbye;
      return;
    }
    if (!wire::carries_payload(header.kind)) refuse("a kind of frame that MPI does not carry");
    if (header.payload_bytes != size - wire::kHeaderBytes) refuse("a frame of another size than it says");
    headers_[slot] = header;
    ++arrived_;
  }
}

void MpiLink::look_at_note(const MPI_Status& status) {
  int words = 0;
  MPI_Get_count(&status, MPI_UINT64_T, &words);
  const auto [taken, end] = memory_->note_in;
  if (words != static_cast<int>(memory_->note_in.size())) refuse("a note of another size than notes have");
  if (taken > sent_ || taken < taken_there_) {
    refuse(fmt::format("a note that it took {} of {} frames", taken, sent_));
  }
  taken_there_ = taken;
  if (peer_end_.kind == LinkEnd::Kind::open) peer_end_ = LinkEnd::from_word(end, identity_.world_size);
  expect_note();
}

void MpiLink::note_what_was_taken() noexcept {
  if (has_ended_ || peer_end_.kind != LinkEnd::Kind::open) return;
  if (taken_ - noted_ < kFramesPerNote || !is_idle(kNoteOut)) return;
  noted_ = taken_;
  memory_->note_out = {taken_, 0};
  check(MPI_Isend(memory_->note_out.data(), static_cast<int>(memory_->note_out.size()), MPI_UINT64_T,
                  address_.process, address_.tag + 1, port_->processes().communicator(), &request(kNoteOut)));
}

void MpiLink::send_end(const LinkEnd& end) noexcept {
  if (has_ended_ || !memory_ || !is_mpi_running()) return;
  has_ended_ = true;
  // A synchronous send is complete when the peer has it: one that MPI merely keeps would wait for this rank's
  // next call. A peer that has ended receives nothing more: that send would keep this link's memory for good.
  const auto send = peer_end_.kind == LinkEnd::Kind::open ? &MPI_Issend : &MPI_Isend;
  if (end.kind == LinkEnd::Kind::goodbye) {
    wire::Header header;
    header.kind = wire::FrameKind::goodbye;
    header.communicator = identity_.communicator;
    header.sender = static_cast<std::uint32_t>(identity_.rank);
    std::byte* const out = memory_->out(kMpiFrames);
    wire::write_header(header, std::span<std::byte, wire::kHeaderBytes>(out, wire::kHeaderBytes));
    check(send(out, static_cast<int>(wire::kHeaderBytes), MPI_BYTE, address_.process, address_.tag,
               port_->processes().communicator(), &request(kFramesOut + kMpiFrames)));
    return;
  }
  completed_ = sent_;
  memory_->end_out = {taken_, end.to_word()};
  check(send(memory_->end_out.data(), static_cast<int>(memory_->end_out.size()), MPI_UINT64_T,
             address_.process, address_.tag + 1, port_->processes().communicator(), &request(kEndOut)));
}

bool MpiLink::is_flushed() noexcept {
  // Who has ended takes nothing more.
  if (!memory_ || peer_end_.kind != LinkEnd::Kind::open) return true;
  if (!is_idle(kEndOut) || !is_idle(kFramesOut + kMpiFrames)) return false;
  count_completed();
  return completed_ == sent_;
}

void MpiLink::shut() noexcept {
  if (!memory_) return;
  completed_ = sent_;
  arrived_ = taken_;
  if (peer_end_.kind == LinkEnd::Kind::open) {
    peer_end_.kind = LinkEnd::Kind::died;
    peer_end_.detail = "its link was closed here";
  }
  if (is_mpi_running()) {
    for (std::size_t place = 0; place < kRequests; ++place) {
      MPI_Request& open = request(place);
      if (open == MPI_REQUEST_NULL) continue;
      memory_->requests.push_back(open);
      if (place >= kFramesOut && place != kNoteIn) continue;
      end_receive(*memory_, place == kNoteIn ? own_tag_ + 1 : own_tag_, port_->processes());
    }
  }
  port_->remove(first_);
  bury(std::move(memory_));
}

void MpiLink::allow_background() const {
  if (mpi_thread_level() >= MPI_THREAD_MULTIPLE) return;
  throw Error(
      ErrorCode::unsupported,
      "MPI was initialized with MPI_THREAD_SERIALIZED, and a thread of gradwire's own would call it at "
      "the same time as yours",
      "ask for MPI_THREAD_MULTIPLE with MPI_Init_thread, or do without overlap and progress thread");
}

void MpiLink::check(int code) noexcept {
  if (code != MPI_SUCCESS) lose(MpiErrorText(code).view());
}

void MpiLink::lose(std::string_view why) noexcept {
  news_ = true;
  if (peer_end_.kind != LinkEnd::Kind::open) return;
  peer_end_.kind = LinkEnd::Kind::died;
  try {
    peer_end_.detail = why;
  } catch (const std::bad_alloc&) {
    // The end counts more than its reason.
  }
}

void MpiLink::end_with_garbage(const Error& error) noexcept {
  peer_end_.kind = LinkEnd::Kind::garbage;
  peer_end_.garbage = error;
}

}  // namespace gradwire::transport
