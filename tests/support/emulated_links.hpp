#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "compress/cuda/emulated_device.hpp"
#include "gradwire/error.hpp"
#include "tests/support/emulated_room.hpp"
#include "transport/stream_links.hpp"

namespace gradwire {

/// Links between ranks whose streams are those of emulated devices.
class EmulatedLinks final : public transport::StreamLinks {
 public:
  EmulatedLinks(std::shared_ptr<EmulatedRoom> room, int rank, int ranks, int device = 0)
      : room_(std::move(room)), rank_(rank), ranks_(ranks), device_(device) {}

  [[nodiscard]] int rank() const noexcept override { return rank_; }
  [[nodiscard]] int ranks() const noexcept override { return ranks_; }
  [[nodiscard]] int device() const noexcept override { return device_; }

  void begin_group() override {
    require(group_ == nullptr, "a group in a group");
    group_ = std::make_shared<Group>();
  }
  void end_group() override {
    require(group_ != nullptr, "the end of no group");
    const auto group = std::exchange(group_, nullptr);
    if (group->sends.empty() && group->receives.empty()) return;
    for (std::size_t i = 0; i < group->sends.size(); ++i) group->sends[i].second = &group->offers[i];
    compress::emulated::put_on(group->stream, [room = room_, rank = rank_, group] {
      room->exchange(rank, group->sends, group->receives);
    });
    ++groups_;
  }
  void send(int peer, const std::byte* bytes, std::size_t count, ::CUstream_st* stream) override {
    require(group_ != nullptr, "a send outside of a group");
    compress::emulated::require_kernel_memory(bytes, count);
    group_->stream = stream;
    group_->offers.push_back({.bytes = bytes, .count = count});
    group_->sends.push_back({{rank_, peer}, nullptr});
    sent_ += count;
  }
  void receive(int peer, std::byte* bytes, std::size_t count, ::CUstream_st* stream) override {
    require(group_ != nullptr, "a receive outside of a group");
    compress::emulated::require_kernel_memory(bytes, count);
    group_->stream = stream;
    group_->receives.push_back({{peer, rank_}, bytes, count});
  }
  void all_reduce(float* values, std::size_t count, bool average, ::CUstream_st* stream) override {
    compress::emulated::require_kernel_memory(values, sizeof *values * count);
    compress::emulated::put_on(stream,
                               [=, room = room_, rank = rank_] { room->sum(rank, values, count, average); });
  }
  void check() override { room_->check(); }
  void interrupt() noexcept override {}
  bool abort() noexcept override {
    room_->abort(rank_);
    return true;
  }

  [[nodiscard]] std::size_t sent() const noexcept { return sent_; }
  [[nodiscard]] std::size_t groups() const noexcept { return groups_; }

 private:
  struct Group {
    ::CUstream_st* stream = nullptr;
    std::vector<EmulatedRoom::Offer> offers;
    std::vector<std::pair<EmulatedRoom::Route, EmulatedRoom::Offer*>> sends;
    std::vector<EmulatedRoom::Receive> receives;
  };

  static void require(bool right, const char* what) {
    if (!right) throw Error(ErrorCode::invalid_argument, what, "mend the caller");
  }

  std::shared_ptr<EmulatedRoom> room_;
  int rank_;
  int ranks_;
  int device_;
  std::shared_ptr<Group> group_;
  std::size_t sent_ = 0;
  std::size_t groups_ = 0;
};

}  // namespace gradwire
