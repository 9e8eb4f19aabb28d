#pragma once

#include <deque>
#include <optional>
#include <random>
#include <vector>

#include "base/checksum.hpp"
#include "collectives/host_executor.hpp"
#include "transport/transport.hpp"

namespace gradwire::collectives {

/// Links between ranks of one thread, with `capacity` frames of buffer per direction and frames that arrive
/// only after a random number of polls: every order of arrival that a network can produce, repeatable by
/// seed.
class FakeNetwork {
 public:
  FakeNetwork(int ranks, std::size_t capacity, unsigned seed)
      : ranks_(ranks),
        capacity_(capacity),
        random_(seed),
        pipes_(static_cast<std::size_t>(ranks) * static_cast<std::size_t>(ranks)) {
    for (int from = 0; from < ranks; ++from) {
      for (int to = 0; to < ranks; ++to) links_.emplace_back(*this, from, to);
    }
    for (int rank = 0; rank < ranks; ++rank) {
      std::vector<Channel> channels(static_cast<std::size_t>(ranks));
      for (int peer = 0; peer < ranks; ++peer) {
        channels[static_cast<std::size_t>(peer)].link = &links_[index(rank, peer)];
      }
      channels_.push_back(std::move(channels));
    }
  }

  /// Of all that was sent, for each pair of ranks: payloads, in order.
  [[nodiscard]] std::vector<std::uint32_t> digests() const {
    std::vector<std::uint32_t> all;
    for (const Pipe& pipe : pipes_) all.push_back(pipe.digest);
    return all;
  }

  /// Frames on their way or waiting to be taken.
  [[nodiscard]] std::size_t waiting(int from, int to) const {
    const Pipe& pipe = pipes_[index(from, to)];
    return pipe.queue.size() + pipe.posted.size();
  }

  std::vector<Channel>& channels(int rank) { return channels_[static_cast<std::size_t>(rank)]; }

 private:
  struct Stored {
    wire::Header header;
    std::vector<std::byte> payload;
    int polls_left = 0;
  };
  struct Posted {
    wire::Header header;
    std::span<const std::byte> payload;
  };
  /// One direction. A posted frame's payload is read only when it enters the queue: a sender that writes to
  /// it before completed() has counted it corrupts the frame, as it would with zero-copy sends.
  struct Pipe {
    std::deque<Stored> queue;
    std::deque<Posted> posted;
    std::uint64_t completed = 0;
    std::uint32_t digest = 0;
    transport::Frame front;
  };

  class FakeLink final : public transport::Link {
   public:
    FakeLink(FakeNetwork& network, int from, int to) : network_(network), from_(from), to_(to) {}

    bool try_send(const wire::Header& header, std::span<const std::byte> payload) override {
      Pipe& pipe = network_.pipe(from_, to_);
      if (pipe.posted.size() == 1) return false;
      wire::Header sent = header;
      sent.payload_bytes = static_cast<std::uint32_t>(payload.size());
      pipe.posted.push_back({sent, payload});
      network_.deliver(pipe);
      return true;
    }
    [[nodiscard]] std::uint64_t completed() const noexcept override {
      return network_.pipes_[network_.index(from_, to_)].completed;
    }
    const transport::Frame* front() override {
      Pipe& pipe = network_.pipe(to_, from_);
      network_.deliver(pipe);
      if (pipe.queue.empty()) return nullptr;
      Stored& head = pipe.queue.front();
      if (head.polls_left > 0) {
        --head.polls_left;
        return nullptr;
      }
      pipe.front = {head.header, head.payload};
      return &pipe.front;
    }
    void pop() override { network_.pipe(to_, from_).queue.pop_front(); }
    [[nodiscard]] std::uint64_t wire_bytes_sent() const noexcept override { return 0; }
    [[nodiscard]] const char* kind() const noexcept override { return "fake"; }

   private:
    FakeNetwork& network_;
    int from_;
    int to_;
  };

  [[nodiscard]] std::size_t index(int from, int to) const {
    return static_cast<std::size_t>(from) * static_cast<std::size_t>(ranks_) + static_cast<std::size_t>(to);
  }
  Pipe& pipe(int from, int to) { return pipes_[index(from, to)]; }

  void deliver(Pipe& pipe) {
    if (pipe.posted.empty() || pipe.queue.size() >= capacity_ || random_() % 2 == 0) return;
    const Posted& posted = pipe.posted.front();
    pipe.queue.push_back(
        {posted.header, {posted.payload.begin(), posted.payload.end()}, static_cast<int>(random_() % 4)});
    pipe.digest = base::crc32c(posted.payload, pipe.digest);
    pipe.posted.pop_front();
    ++pipe.completed;
  }

  int ranks_;
  std::size_t capacity_;
  std::minstd_rand random_;
  std::vector<Pipe> pipes_;
  std::deque<FakeLink> links_;
  std::vector<std::vector<Channel>> channels_;
};

}  // namespace gradwire::collectives
