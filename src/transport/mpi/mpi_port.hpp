#pragma once

#include <mpi.h>

#include <memory>
#include <vector>

#include "transport/mpi/mpi_processes.hpp"

namespace gradwire::transport {

class MpiLink;

/// The requests of all links of one endpoint. MPI moves bytes only while it is called, so all of them are
/// tested by one call, once for each moment that links are asked about. Not thread-safe.
class MpiPort {
 public:
  explicit MpiPort(std::shared_ptr<MpiProcesses> processes) noexcept : processes_(std::move(processes)) {}

  /// Makes room for the requests of `link`, which is told when one is complete; returns the first's place.
  std::size_t add(MpiLink& link);
  void remove(std::size_t first) noexcept;
  [[nodiscard]] MPI_Request& request(std::size_t place) noexcept { return requests_[place]; }

  /// Has MPI move bytes, and tells the links what came of it.
  void poll(Clock::time_point now) noexcept;
  /// When to poll again: soon after something happened, and later and later while nothing does, so that a
  /// rank which waits leaves its core to others.
  [[nodiscard]] Clock::time_point due(Clock::time_point now) const noexcept;
  /// Something was sent, and an answer may come soon.
  void expect_news() noexcept { stirred_ = Clock::now(); }

  [[nodiscard]] MpiProcesses& processes() noexcept { return *processes_; }

 private:
  std::shared_ptr<MpiProcesses> processes_;
  std::vector<MpiLink*> links_;  ///< by the place of their first request; null where one has gone
  std::vector<MPI_Request> requests_;
  std::vector<MPI_Status> statuses_;
  std::vector<int> places_;
  Clock::time_point polled_{};
  Clock::time_point stirred_{};
};

}  // namespace gradwire::transport
