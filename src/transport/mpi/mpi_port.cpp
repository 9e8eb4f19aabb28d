#include "transport/mpi/mpi_port.hpp"

#include <algorithm>
#include <string_view>

#include "transport/mpi/mpi_library.hpp"
#include "transport/mpi/mpi_link.hpp"
#include "transport/sleep_times.hpp"

namespace gradwire::transport {
namespace {

constexpr std::chrono::microseconds kShortestPause{20};
constexpr std::chrono::microseconds kLongestPause{1000};
/// A pause is this part of the time that nothing has happened: in a chain of ranks each waits for what the
/// pauses of all before it have added.
constexpr int kQuietPerPause = 16;

}  // namespace

std::size_t MpiPort::add(MpiLink& link) {
  const std::size_t first = requests_.size();
  links_.push_back(&link);
  requests_.resize(first + MpiLink::kRequests, MPI_REQUEST_NULL);
  statuses_.resize(requests_.size());
  places_.resize(requests_.size());
  return first;
}

void MpiPort::remove(std::size_t first) noexcept {
  links_[first / MpiLink::kRequests] = nullptr;
  std::fill_n(requests_.begin() + static_cast<std::ptrdiff_t>(first), MpiLink::kRequests, MPI_REQUEST_NULL);
}

void MpiPort::poll(Clock::time_point now) noexcept {
  if (now == polled_) return;
  polled_ = now;
  const auto lose_all = [this](std::string_view why) {
    for (MpiLink* link : links_) {
      if (link != nullptr) link->lose(why);
    }
  };
  if (!is_mpi_running()) return lose_all("MPI was finalized while it was needed");
  int count = 0;
  const int code = MPI_Testsome(static_cast<int>(requests_.size()), requests_.data(), &count, places_.data(),
                                statuses_.data());
  if (code != MPI_SUCCESS && code != MPI_ERR_IN_STATUS) return lose_all(MpiErrorText(code).view());
  if (count == MPI_UNDEFINED || count == 0) return;
  stirred_ = now;
  for (int i = 0; i < count; ++i) {
    const auto place = static_cast<std::size_t>(places_[static_cast<std::size_t>(i)]);
    const MPI_Status& status = statuses_[static_cast<std::size_t>(i)];
    MpiLink* const link = links_[place / MpiLink::kRequests];
    if (link == nullptr) continue;
    link->complete(place % MpiLink::kRequests, status,
                   code == MPI_ERR_IN_STATUS ? status.MPI_ERROR : MPI_SUCCESS);
  }
}

Clock::time_point MpiPort::due(Clock::time_point now) const noexcept {
  const auto quiet = std::max<Clock::duration>(now - stirred_, {});
  return now + std::clamp<Clock::duration>(quiet / kQuietPerPause, kShortestPause, kLongestPause) +
         kTimerLateness;
}

}  // namespace gradwire::transport
