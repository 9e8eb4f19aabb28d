#include "trainer/rank_group.hpp"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "trainer/agreement.hpp"

namespace gradwire::trainer {
namespace {

/// Of a rank that died, or that does not answer.
bool is_loss(const Error& error) {
  return error.code() == ErrorCode::peer_lost || error.code() == ErrorCode::timeout;
}

}  // namespace

RankGroup::RankGroup(Communicator comm)
    : comm_(std::move(comm)), rank_(comm_->rank()), size_(comm_->world_size()) {}

RankGroup::RankGroup(int rank, int size) : rank_(rank), size_(size) {}

void RankGroup::outlive_others(NoticeCallback notice) { notice_ = std::move(notice); }

bool RankGroup::together(const std::function<void(Communicator&)>& collective) {
  if (!comm_) return false;
  try {
    collective(*comm_);
    return true;
  } catch (const Error& error) {
    if (!notice_ || !is_loss(error)) throw;
    leave();
    const std::string who =
        error.peer() ? fmt::format("rank {} was lost", *error.peer()) : "one does not answer";
    if (*notice_) (*notice_)(fmt::format("goes on without the other ranks: {}", who));
    return false;
  }
}

void RankGroup::leave() noexcept {
  if (comm_) comm_->abort();
  comm_.reset();
}

double RankGroup::mean(double value) {
  double mean = value;
  (void)together([&](Communicator& comm) { mean = mean_over_ranks(comm, value); });
  return mean;
}

std::vector<std::uint64_t> RankGroup::values(std::uint64_t value) {
  std::vector<std::uint64_t> values{value};
  (void)together([&](Communicator& comm) { values = values_of_all_ranks(comm, value); });
  return values;
}

}  // namespace gradwire::trainer
