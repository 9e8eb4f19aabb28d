#include "transport/ucx/ucx_library.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>

#include "mesh.hpp"
#include "transport/ucx/ucx_link.hpp"

// What UCX itself does, and what it may lack.

namespace gradwire::transport {
namespace {

using testing::HasSubstr;

TEST(UcxLibrary, ThatIsNotThereIsUnsupported) {
  try {
    const UcxLibrary library("libucp_of_another_host.so.0");
    ADD_FAILURE() << "loaded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    EXPECT_THAT(error.what(), HasSubstr("UCX cannot be loaded: libucp_of_another_host.so.0"));
    EXPECT_THAT(error.what(), HasSubstr("use auto, shm or tcp"));
  }
}

TEST(UcxLibrary, ThatIsAnotherOneIsUnsupported) {
  try {
    const UcxLibrary library("libm.so.6");
    ADD_FAILURE() << "taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    EXPECT_THAT(error.what(), HasSubstr("lacks ucp_get_version"));
  }
}

std::set<int> threads() {
  std::set<int> ids;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    ids.insert(std::stoi(entry.path().filename().string()));
  }
  return ids;
}

/// Whether a thread of this process takes the signal.
bool takes(int thread, int signal) {
  std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/status");
  std::string word;
  while (file >> word && word != "SigBlk:") {
  }
  std::uint64_t blocked = 0;
  file >> std::hex >> blocked;
  return (blocked >> static_cast<unsigned>(signal - 1) & 1U) == 0;
}

TEST(UcxLibrary, ItsThreadsTakeNoSignalsOfTheProgram) {
  const auto before = threads();
  UcxWorker one(2, 1);
  UcxWorker other(2, 2);
  ASSERT_EQ(one.open(1, other.address()), UCS_OK);
  int started = 0;
  for (const int thread : threads()) {
    if (before.contains(thread)) continue;
    ++started;
    for (const int signal : {SIGINT, SIGTERM, SIGUSR1, SIGCHLD})
      EXPECT_FALSE(takes(thread, signal)) << signal;
  }
  EXPECT_GT(started, 0) << "UCX has no threads any more: this test is of no use";
  EXPECT_TRUE(takes(::getpid(), SIGTERM)) << "of the caller's signals none is kept back";
}

int failures = 0;
ucs_status_t create_at_last(ucp_context_h context, const ucp_worker_params_t* params, ucp_worker_h* worker) {
  if (--failures >= 0) return UCS_ERR_NO_DEVICE;
  return UcxLibrary::get().worker_create(context, params, worker);
}

TEST(UcxLibrary, ThatFoundADeviceWhichIsGoneLooksAgain) {
  UcxLibrary library = UcxLibrary::get();
  library.worker_create = &create_at_last;
  failures = 2;
  EXPECT_NO_THROW(UcxWorker(2, 1, library));
  failures = 1000;
  try {
    const UcxWorker worker(2, 1, library);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    EXPECT_THAT(error.what(), HasSubstr("No such device"));
  }
  EXPECT_GT(failures, 900) << "it never gives up";
}

/// UCX as it is, until memory is short.
bool is_memory_short = false;
ucs_status_ptr_t send_if_there_is_memory(ucp_ep_h endpoint, unsigned id, const void* head,
                                         std::size_t head_bytes, const void* data, std::size_t bytes,
                                         const ucp_request_param_t* params) {
  if (is_memory_short) return UCS_STATUS_PTR(UCS_ERR_NO_MEMORY);
  return UcxLibrary::get().am_send_nbx(endpoint, id, head, head_bytes, data, bytes, params);
}

/// Two ranks of one thread.
class Pair {
 public:
  Pair() {
    library_.am_send_nbx = &send_if_there_is_memory;
    for (const int rank : {0, 1}) {
      UcxParts parts;
      parts.rank = rank;
      parts.peer = 1 - rank;
      parts.world_size = 2;
      parts.worker = std::make_shared<UcxWorker>(2, token(rank), library_);
      parts.drives = true;
      workers_.push_back(parts.worker);
      links_.push_back(std::make_unique<UcxLink>(std::move(parts)));
    }
    for (const int rank : {0, 1}) (*this)[rank].open(token(1 - rank), worker(1 - rank).address(), {});
    const auto deadline = Clock::now() + kSoon;
    while (Clock::now() < deadline && !((*this)[0].is_connected() && (*this)[1].is_connected())) advance();
  }
  ~Pair() { is_memory_short = false; }

  void advance() {
    for (const auto& link : links_) link->advance(Clock::now());
  }
  UcxLink& operator[](int rank) { return *links_[static_cast<std::size_t>(rank)]; }

 private:
  static std::uint64_t token(int rank) { return static_cast<std::uint64_t>(rank) + 11; }
  UcxWorker& worker(int rank) { return *workers_[static_cast<std::size_t>(rank)]; }

  UcxLibrary library_ = UcxLibrary::get();
  std::vector<std::shared_ptr<UcxWorker>> workers_;
  std::vector<std::unique_ptr<UcxLink>> links_;
};

/// Nobody else has died of it.
void expect_shortage(const UcxLink& link) {
  ASSERT_TRUE(link.peer_end().is_failure());
  const Error error = link.peer_end().to_error(link.peer());
  EXPECT_EQ(error.code(), ErrorCode::system) << error.what();
  EXPECT_FALSE(error.peer());
  EXPECT_EQ(blame(error, 0).origin, 0);
}

TEST(UcxLibrary, ThatHasNoMemoryForAFrameIsNoDeathOfThePeer) {
  Pair pair;
  is_memory_short = true;
  const auto payload = payload_for(0, 1, 0, 100);
  EXPECT_TRUE(pair[0].try_send(header_for(0, 1, 0), payload));
  pair.advance();
  expect_shortage(pair[0]);
}

TEST(UcxLibrary, ThatHasNoMemoryForCreditIsNoDeathOfThePeer) {
  Pair pair;
  const auto payload = payload_for(1, 0, 0, 100);
  for (std::uint64_t n = 0; n < 8; ++n) EXPECT_TRUE(pair[1].try_send(header_for(1, 0, n), payload));
  const auto deadline = Clock::now() + kSoon;
  for (int taken = 0; taken < 8 && Clock::now() < deadline; pair.advance()) {
    if (pair[0].front() == nullptr) continue;
    is_memory_short = true;
    pair[0].pop();
    ++taken;
  }
  expect_shortage(pair[0]);
}

}  // namespace
}  // namespace gradwire::transport
