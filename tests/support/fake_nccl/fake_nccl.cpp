#include "fake_nccl.hpp"

#include <atomic>
#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "tests/support/emulated_room.hpp"

namespace {

using gradwire::EmulatedRoom;

constexpr int kVersion = 29'900;
/// So often the answer is that it takes longer.
constexpr int kBusyAnswers = 2;

thread_local int version = kVersion;

struct World {
  explicit World(int ranks) : room(ranks) {}
  EmulatedRoom room;
  std::atomic<int> arrived{0};
};

std::mutex mutex;
std::map<int, std::shared_ptr<World>> worlds;
int last_id = 0;

ncclResult_t planted(const char* function) {
  const std::lock_guard lock(mutex);
  FakeNccl& fake = *fake_nccl();
  if (fake.failing_function != function || fake.calls_before_failure-- > 0) return ncclSuccess;
  fake.failing_function.clear();
  return fake.failure;
}

}  // namespace

struct ncclComm {  // NOLINT(readability-identifier-naming)
  std::shared_ptr<World> world;
  int rank = 0;
  int ranks = 1;
  bool blocks = false;
  std::atomic<int> busy{0};
  std::atomic<ncclResult_t> remembered{ncclSuccess};
};

namespace {

/// What a thread has gathered since ncclGroupStart.
struct Group {
  ncclComm_t comm = nullptr;
  cudaStream_t stream = nullptr;
  std::vector<std::pair<EmulatedRoom::Route, EmulatedRoom::Offer>> sends;
  std::vector<EmulatedRoom::Receive> receives;
  std::vector<std::function<void()>> sums;
};
thread_local int depth = 0;
thread_local std::shared_ptr<Group> group;
thread_local ncclResult_t group_error = ncclSuccess;

Group& gathered(ncclComm_t comm, cudaStream_t stream) {
  if (!group) group = std::make_shared<Group>();
  group->comm = comm;
  group->stream = stream;
  return *group;
}

ncclResult_t launch() {
  const auto all = std::exchange(group, nullptr);
  if (const auto error = std::exchange(group_error, ncclSuccess); error != ncclSuccess) return error;
  if (!all) return ncclSuccess;
  if (!all->comm->blocks) all->comm->busy = kBusyAnswers;
  fake_nccl()->put_on(all->stream, [all, world = all->comm->world, rank = all->comm->rank] {
    std::vector<std::pair<EmulatedRoom::Route, EmulatedRoom::Offer*>> sends;
    for (auto& [route, offer] : all->sends) sends.emplace_back(route, &offer);
    world->room.exchange(rank, sends, all->receives);
    for (const auto& sum : all->sums) sum();
  });
  return all->comm->blocks ? ncclSuccess : ncclInProgress;
}

ncclResult_t refuse(ncclComm_t comm, ncclResult_t result) {
  if (depth > 0) group_error = result;
  if (!comm->blocks) comm->remembered = result;
  return result;
}

ncclResult_t launch_if_alone() { return depth == 0 ? launch() : ncclSuccess; }

}  // namespace

#define EXPORTED __attribute__((visibility("default")))

extern "C" {

EXPORTED FakeNccl* fake_nccl() {
  static FakeNccl fake{.put_on = {}, .failing_function = {}, .set_version = [](int seen) {
                         version = seen == 0 ? kVersion : seen;
                       }};
  return &fake;
}

EXPORTED ncclResult_t ncclGetVersion(int* seen) {
  *seen = version;
  return ncclSuccess;
}
EXPORTED const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclRemoteError ? "remote process exited" : "a fault of the test's";
}
EXPORTED const char* ncclGetLastError(ncclComm_t /*comm*/) { return "planted"; }

EXPORTED ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  const std::lock_guard lock(mutex);
  std::memset(id->internal, -1, sizeof id->internal);
  ++last_id;
  std::memcpy(id->internal, &last_id, sizeof last_id);
  return ncclSuccess;
}

EXPORTED ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank,
                                             ncclConfig_t* config) {
  if (const auto result = planted("ncclCommInitRankConfig"); result != ncclSuccess) return result;
  if (id.internal[100] != -1) return ncclInvalidArgument;
  int number = 0;
  std::memcpy(&number, id.internal, sizeof number);
  {
    const std::lock_guard lock(mutex);
    auto& world = worlds[number];
    if (!world) world = std::make_shared<World>(ranks);
    *comm = new ncclComm{.world = world, .rank = rank, .ranks = ranks, .blocks = config->blocking != 0};
  }
  ++(*comm)->world->arrived;
  if (!(*comm)->blocks) return ncclInProgress;
  while ((*comm)->world->arrived < ranks) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return ncclSuccess;
}

EXPORTED ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  comm->busy = kBusyAnswers;
  return ncclInProgress;
}
EXPORTED ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  const std::lock_guard lock(mutex);
  ++fake_nccl()->destroyed;
  delete comm;
  return ncclSuccess;
}
EXPORTED ncclResult_t ncclCommAbort(ncclComm_t comm) {
  const auto begin = std::chrono::steady_clock::now();
  while (fake_nccl()->is_abort_stuck && std::chrono::steady_clock::now() < begin + std::chrono::seconds(30)) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  const std::lock_guard lock(mutex);
  comm->world->room.abort(comm->rank);
  ++fake_nccl()->aborted;
  delete comm;
  return ncclSuccess;
}

EXPORTED ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* state) {
  const std::lock_guard lock(mutex);
  *state = fake_nccl()->async_error;
  if (*state == ncclSuccess) *state = comm->remembered;
  if (comm->world->arrived < comm->ranks || fake_nccl()->is_stuck) *state = ncclInProgress;
  if (comm->busy > 0) {
    --comm->busy;
    *state = ncclInProgress;
  }
  return ncclSuccess;
}

EXPORTED ncclResult_t ncclCommCount(const ncclComm_t comm, int* count) {
  *count = comm->ranks;
  return planted("ncclCommCount");
}
EXPORTED ncclResult_t ncclCommCuDevice(const ncclComm_t /*comm*/, int* device) {
  *device = 0;
  return ncclSuccess;
}
EXPORTED ncclResult_t ncclCommUserRank(const ncclComm_t comm, int* rank) {
  *rank = comm->rank;
  return ncclSuccess;
}

EXPORTED ncclResult_t ncclGroupStart() {
  ++depth;
  return ncclSuccess;
}
EXPORTED ncclResult_t ncclGroupEnd() { return --depth == 0 ? launch() : ncclSuccess; }

EXPORTED ncclResult_t ncclSend(const void* bytes, std::size_t count, ncclDataType_t type, int peer,
                               ncclComm_t comm, cudaStream_t stream) {
  if (const auto result = planted("ncclSend"); result != ncclSuccess) return refuse(comm, result);
  if (type != ncclUint8) return ncclInvalidArgument;
  gathered(comm, stream)
      .sends.push_back({{comm->rank, peer}, {.bytes = static_cast<const std::byte*>(bytes), .count = count}});
  return launch_if_alone();
}

EXPORTED ncclResult_t ncclRecv(void* bytes, std::size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                               cudaStream_t stream) {
  if (const auto result = planted("ncclRecv"); result != ncclSuccess) return refuse(comm, result);
  if (type != ncclUint8) return ncclInvalidArgument;
  gathered(comm, stream).receives.push_back({{peer, comm->rank}, static_cast<std::byte*>(bytes), count});
  return launch_if_alone();
}

EXPORTED ncclResult_t ncclAllReduce(const void* from, void* to, std::size_t count, ncclDataType_t type,
                                    ncclRedOp_t operation, ncclComm_t comm, cudaStream_t stream) {
  if (const auto result = planted("ncclAllReduce"); result != ncclSuccess) return refuse(comm, result);
  if (type != ncclFloat32 || from != to) return ncclInvalidArgument;
  gathered(comm, stream)
      .sums.push_back([world = comm->world, rank = comm->rank, values = static_cast<float*>(to), count,
                       average = operation == ncclAvg] { world->room.sum(rank, values, count, average); });
  return launch_if_alone();
}
}
