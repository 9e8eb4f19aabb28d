#include "transport/nccl/nccl_comm_links.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <thread>
#include <utility>

namespace gradwire::transport {
namespace {

/// So long NCCL is asked again and again, since what it need not wait for others for takes it no longer.
constexpr std::chrono::microseconds kOwnTime{100};
constexpr std::chrono::microseconds kShortestNap{10};
constexpr std::chrono::microseconds kLongestNap{2000};
/// For the other ranks to say goodbye as well.
constexpr std::chrono::seconds kFinalPatience{5};

}  // namespace

NcclCommLinks::NcclCommLinks(const NcclLibrary& library, const NcclId& id, int rank, int ranks, int device,
                             std::chrono::milliseconds timeout)
    : library_(library), is_ours_(true), timeout_(timeout), rank_(rank), ranks_(ranks), device_(device) {
  ncclUniqueId unique{};
  static_assert(sizeof unique.internal == sizeof(NcclId));
  std::memcpy(unique.internal, id.data(), id.size());
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  constexpr const char* kDoing = "connect the ranks";
  const ncclResult_t begun = library_.comm_init_rank_config(&communicator_, ranks, unique, rank, &config);
  const ncclResult_t result = communicator_ == nullptr ? begun : settled(begun, Clock::now() + timeout_);
  if (result == ncclSuccess) return;
  const Error failure =
      result == ncclInProgress ? unsettled(kDoing) : library_.error(kDoing, result, communicator_);
  (void)abort();
  throw Error(failure);
}

NcclCommLinks::NcclCommLinks(const NcclLibrary& library, ncclComm_t communicator,
                             std::chrono::milliseconds timeout)
    : library_(library), communicator_(communicator), is_ours_(false), timeout_(timeout) {
  if (communicator == nullptr) {
    throw Error(ErrorCode::invalid_argument, "an ncclComm_t that is null",
                "pass one that ncclCommInitRankConfig() has made, with blocking = 0");
  }
  require(library_.comm_user_rank(communicator, &rank_), "tell a communicator's rank");
  require(library_.comm_count(communicator, &ranks_), "count a communicator's ranks");
  require(library_.comm_cu_device(communicator, &device_), "tell a communicator's device");
}

NcclCommLinks::~NcclCommLinks() {
  if (!is_ours_ || communicator_ == nullptr) return;
  const ncclResult_t end = settled(library_.comm_finalize(communicator_), Clock::now() + kFinalPatience);
  // What has been finalized is freed without waiting for anybody.
  if (end == ncclSuccess) {
    (void)library_.comm_destroy(communicator_);
  } else {
    (void)abort();
  }
}

void NcclCommLinks::begin_group() {
  require(library_.group_start(), "begin a group");
  in_group_ = true;
}

void NcclCommLinks::end_group() {
  in_group_ = false;
  require(library_.group_end(), "start sends and receives");
}

void NcclCommLinks::send(int peer, const std::byte* bytes, std::size_t count, ::CUstream_st* stream) {
  require(library_.send(bytes, count, ncclUint8, peer, communicator_, stream), "start a send");
}

void NcclCommLinks::receive(int peer, std::byte* bytes, std::size_t count, ::CUstream_st* stream) {
  require(library_.recv(bytes, count, ncclUint8, peer, communicator_, stream), "start a receive");
}

void NcclCommLinks::all_reduce(float* values, std::size_t count, bool average, ::CUstream_st* stream) {
  require(library_.all_reduce(values, values, count, ncclFloat32, average ? ncclAvg : ncclSum, communicator_,
                              stream),
          "start an allreduce");
}

void NcclCommLinks::check() {
  if (communicator_ == nullptr) throw gave_up(rank_);
  ncclResult_t state = ncclSuccess;
  ncclResult_t asked = library_.comm_get_async_error(communicator_, &state);
  if (asked == ncclSuccess) asked = state;
  if (asked == ncclSuccess || asked == ncclInProgress) return;
  throw library_.error("go on", asked, communicator_);
}

bool NcclCommLinks::abort() noexcept {
  if (!is_ours_) return false;
  ncclComm_t const communicator = std::exchange(communicator_, nullptr);
  if (communicator == nullptr) return true;
  try {
    abort_.emplace(library_, communicator);
  } catch (const std::exception&) {
    // There is no other thread to be had.
    (void)library_.comm_abort(communicator);
  }
  return true;
}

void NcclCommLinks::require(ncclResult_t result, const char* doing) {
  // Groups are the thread's: one that stayed open would swallow what it does with other communicators.
  const auto leave_group = [this] {
    if (std::exchange(in_group_, false)) (void)library_.group_end();
  };
  if (!in_group_) result = settled(result, Clock::now() + timeout_);
  if (result == ncclSuccess || (in_group_ && result == ncclInProgress)) return;
  leave_group();
  throw result == ncclInProgress ? unsettled(doing) : library_.error(doing, result, communicator_);
}

ncclResult_t NcclCommLinks::settled(ncclResult_t result, Clock::time_point deadline) const {
  const auto begin = Clock::now();
  auto nap = kShortestNap;
  while (result == ncclInProgress) {
    const ncclResult_t asked = library_.comm_get_async_error(communicator_, &result);
    if (asked != ncclSuccess) return asked;
    const auto now = Clock::now();
    if (result != ncclInProgress || is_interrupted_ || now >= deadline) break;
    if (now - begin < kOwnTime) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(nap);
      nap = std::min(2 * nap, kLongestNap);
    }
  }
  return result;
}

Error NcclCommLinks::unsettled(const char* doing) const {
  if (is_interrupted_) return gave_up(rank_);
  return {ErrorCode::timeout,
          fmt::format("NCCL could not {} within {:.3g} s (rank {} of {})", doing,
                      std::chrono::duration<double>(timeout_).count(), rank_, ranks_),
          "find the rank that did not come; NCCL_DEBUG=INFO says how far NCCL has got"};
}

}  // namespace gradwire::transport
