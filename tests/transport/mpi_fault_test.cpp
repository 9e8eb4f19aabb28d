#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <mpi.h>

#include <atomic>
#include <future>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "directory_store.hpp"
#include "mesh.hpp"
#include "tests/support/error_of.hpp"
#include "tests/support/short_memory.hpp"
#include "transport/mesh_directory.hpp"
#include "transport/mpi/mpi_mesh.hpp"
#include "transport/mpi/mpi_processes.hpp"

// What MPI, peers over it and the store may do wrong. Ranks are threads of one process.

namespace {

/// How many calls MPI refuses from now on.
std::atomic<int> refused_tests{0};
std::atomic<int> refused_receives{0};
std::atomic<int> refused_looks{0};
/// Whether what comes seems to come from another process.
std::atomic<bool> is_strange{false};
/// That wait for their receiver.
std::atomic<int> synchronous_sends{0};

bool is_refused(std::atomic<int>& left) {
  if (left.load() == 0) return false;
  --left;
  return true;
}

}  // namespace

// In the place of MPI's own, which have another name beside this one.
extern "C" {
int MPI_Test(MPI_Request* request, int* flag, MPI_Status* status) {
  return is_refused(refused_tests) ? MPI_ERR_OTHER : PMPI_Test(request, flag, status);
}
int MPI_Irecv(void* buffer, int count, MPI_Datatype type, int source, int tag, MPI_Comm communicator,
              MPI_Request* request) {
  if (is_refused(refused_receives)) return MPI_ERR_OTHER;
  return PMPI_Irecv(buffer, count, type, source, tag, communicator, request);
}
int MPI_Testsome(int count, MPI_Request* requests, int* complete, int* places, MPI_Status* statuses) {
  if (is_refused(refused_looks)) return MPI_ERR_OTHER;
  const int code = PMPI_Testsome(count, requests, complete, places, statuses);
  for (int i = 0; is_strange && i < *complete; ++i) statuses[i].MPI_SOURCE = 77;
  return code;
}
int MPI_Issend(const void* buffer, int count, MPI_Datatype type, int receiver, int tag, MPI_Comm communicator,
               MPI_Request* request) {
  ++synchronous_sends;
  return PMPI_Issend(buffer, count, type, receiver, tag, communicator, request);
}
}

namespace gradwire::transport {
namespace {

using testing::HasSubstr;

std::shared_ptr<MpiProcesses> own_group() {
  auto group = std::make_shared<MpiProcesses>(MPI_COMM_SELF);
  group->open(Clock::now() + kSoon);
  return group;
}

EndpointOptions options_in(const std::shared_ptr<MpiProcesses>& group, int rank) {
  EndpointOptions options = options_for({"mpi", "mpi"}, rank, 2);
  options.mpi = group;
  return options;
}

std::string key_of(const std::string& name) { return "gradwire/conformance/7/" + name; }

/// What a rank says in the store about where MPI finds it.
struct Place {
  std::uint64_t token = 0;
  std::string group;
  int process = 0;
  MpiTag first_tag = 0;

  static Place of(Store& store, int rank) {
    Place place;
    std::istringstream text(store.get(key_of("mpi/" + std::to_string(rank)), kSoon).value());
    text >> place.token >> place.group >> place.process >> place.first_tag;
    return place;
  }
  void set(Store& store, int rank) const {
    std::ostringstream text;
    text << token << ' ' << group << ' ' << process << ' ' << first_tag;
    store.set(key_of("mpi/" + std::to_string(rank)), text.str());
  }
};

/// Two ranks that have a link.
struct Pair {
  Pair() {
    auto other = std::async(std::launch::async, [&] { return connect(options_in(group, 1), store); });
    zero = connect(options_in(group, 0), store);
    one = other.get();
  }

  /// Bytes for rank 0, as if rank 1 sent them.
  void send_garbage(bool note, const std::vector<std::byte>& bytes) {
    const MpiTag frames = Place::of(store, 0).first_tag + 2;
    MPI_Send(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, 0, note ? frames + 1 : frames,
             group->communicator());
  }

  DirectoryStore store;
  std::shared_ptr<MpiProcesses> group = own_group();
  std::unique_ptr<Endpoint> zero;
  std::unique_ptr<Endpoint> one;
};

TEST(MpiCollective, ThatFailsIsAnError) {
  const auto group = std::make_shared<MpiProcesses>(MPI_COMM_SELF);
  const auto deadline = Clock::now() + kSoon;
  const auto expect_error = [](const std::optional<Error>& error, const std::string& what) {
    ASSERT_TRUE(error) << what;
    EXPECT_EQ(error->code(), ErrorCode::system) << error->what();
    EXPECT_THAT(error->what(), HasSubstr(what));
    refused_tests = 0;
  };
  refused_tests = 1;
  expect_error(error_of([&] { group->open(deadline); }), "duplicate a communicator");
  group->open(deadline);
  refused_tests = 1;
  expect_error(error_of([&] { (void)group->from_first("text", deadline); }), "tell all processes");
  refused_tests = 1;
  expect_error(error_of([&] { (void)group->are_alike("text", deadline); }), "compare the processes' hosts");
}

TEST(MpiMesh, ThatCannotListenIsAnError) {
  const auto group = own_group();
  DirectoryStore store;
  auto other =
      std::async(std::launch::async, [&] { return error_of([&] { connect(options_in(group, 1), store); }); });
  refused_receives = 1;
  const auto error = error_of([&] { connect(options_in(group, 0), store); });
  const auto others = other.get();
  EXPECT_EQ(refused_receives.load(), 0);
  for (const auto& each : {error, others}) {
    ASSERT_TRUE(each);
    EXPECT_EQ(each->code(), ErrorCode::system) << each->what();
    EXPECT_THAT(each->what(), HasSubstr("MPI could not receive"));
  }
}

TEST(MpiMesh, SaysWhereMemoryEnds) {
  const auto group = own_group();
  DirectoryStore store;
  const auto options = options_in(group, 0);
  const auto deadline = Clock::now() + kSoon;
  MeshDirectory directory(options, store, deadline);
  const std::vector<int> peers{1};
  // The meetings, the memory of the first, its requests.
  for (const std::size_t spared : {0, 1, 2}) {
    MpiMesh mesh(group, options, store, directory, deadline);
    EXPECT_FALSE(with_short_memory(spared, [&] { mesh.begin(peers); })) << spared;
  }
}

/// Tells when a key is read.
class WatchedStore : public DirectoryStore {
 public:
  explicit WatchedStore(std::string key) : key_(std::move(key)) {}
  std::optional<std::string> get(const std::string& key, std::chrono::milliseconds timeout) override {
    auto value = DirectoryStore::get(key, timeout);
    if (key == key_ && !was_read_.exchange(true)) read_.set_value();
    return value;
  }
  void await_reader() { read_.get_future().wait(); }

 private:
  std::string key_;
  std::atomic<bool> was_read_{false};
  std::promise<void> read_;
};

/// Of an earlier run, whose processes were another group: the record and the place fit each other.
TEST(MpiMesh, APlaceOfAnEarlierRunIsReadAgain) {
  WatchedStore store(key_of("mpi/1"));
  {
    Pair earlier;
    for (const char* name : {"address/1", "mpi/1"}) {
      store.set(key_of(name), earlier.store.get(key_of(name), kSoon).value());
    }
  }
  const auto group = own_group();
  auto first = std::async(std::launch::async, [&] { return connect(options_in(group, 0), store); });
  store.await_reader();
  const auto one = connect(options_in(group, 1), store);
  const auto zero = first.get();
  send(*zero, 1, header_for(0, 1, 5), {});
  EXPECT_EQ(receive(*one, 0).header.operation, 5U);
}

TEST(MpiMesh, ThePlaceOfARankHasTagsThatMpiHas) {
  DirectoryStore store;
  const auto group = own_group();
  {
    Pair earlier;
    store.set(key_of("address/1"), earlier.store.get(key_of("address/1"), kSoon).value());
    Place place = Place::of(earlier.store, 1);
    place.group = group->id();
    place.first_tag = std::numeric_limits<MpiTag>::max() - 1;
    place.set(store, 1);
  }
  const auto error = error_of([&] { connect(options_in(group, 0), store); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::corrupt_frame) << error->what();
  EXPECT_EQ(error->peer(), 1);
}

TEST(MpiTags, AreGivenToOneMeshOnly) {
  const auto group = own_group();
  EXPECT_EQ(group->reserve_tags(4), 0);
  EXPECT_EQ(group->reserve_tags(group->last_tag() - 8), 4);
  const MpiTag last = group->reserve_tags(4);
  EXPECT_EQ(last, group->last_tag() - 4);
  const auto error = error_of([&] { (void)group->reserve_tags(4); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::unsupported) << error->what();
}

TEST(MpiLink, GarbageIsAnErrorThatNamesItsSender) {
  struct Garbage {
    std::string name;
    bool is_note;
    std::size_t bytes;
  };
  for (const auto& [name, is_note, bytes] :
       {Garbage{"an empty frame", false, 0}, Garbage{"a short frame", false, 7},
        Garbage{"a frame that is none", false, 200}, Garbage{"a long frame", false, 200'000},
        Garbage{"an empty note", true, 0}, Garbage{"half a note", true, 8}, Garbage{"a torn note", true, 13},
        Garbage{"a note that is none", true, 16}, Garbage{"a long note", true, 24}}) {
    Pair pair;
    pair.send_garbage(is_note, std::vector<std::byte>(bytes, std::byte{77}));
    const auto error = error_of([&] { receive(*pair.zero, 1); });
    ASSERT_TRUE(error) << name;
    EXPECT_EQ(error->code(), ErrorCode::corrupt_frame) << name << ": " << error->what();
    EXPECT_EQ(error->peer(), 1) << name;
  }
}

TEST(MpiLink, RefusesWhatAnotherProcessSends) {
  Pair pair;
  is_strange = true;
  send(*pair.one, 0, header_for(0, 1, 5), {});
  const auto error = error_of([&] { receive(*pair.zero, 1); });
  is_strange = false;
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::corrupt_frame) << error->what();
  EXPECT_THAT(error->what(), HasSubstr("process 77"));
}

TEST(MpiLink, WhoEndsLastWaitsForNobody) {
  Pair pair;
  synchronous_sends = 0;
  auto first = std::async(std::launch::async, [&] { pair.zero->close(kSoon); });
  const auto error = error_of([&] { receive(*pair.one, 0); });
  first.get();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::peer_lost) << error->what();
  EXPECT_EQ(synchronous_sends.load(), 1);
  pair.one->close(kSoon);
  EXPECT_EQ(synchronous_sends.load(), 1);
}

/// One look that finds no memory, then others that do.
std::optional<Error> error_after_short_memory(Endpoint& endpoint) {
  try {
    const ShortMemory none([](std::size_t) { return true; });
    while (!endpoint.progress()) {
    }
  } catch (const std::bad_alloc&) {
  }
  return error_of([&] { receive(endpoint, 1); });
}

TEST(MpiLink, EndsWhereMemoryDoes) {
  {
    Pair pair;
    refused_looks = 1;
    const auto error = error_after_short_memory(*pair.zero);
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code(), ErrorCode::peer_lost) << error->what();
  }
  Pair pair;
  pair.send_garbage(true, std::vector<std::byte>(16, std::byte{77}));
  const auto error = error_after_short_memory(*pair.zero);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::peer_lost) << error->what();
}

}  // namespace
}  // namespace gradwire::transport

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  int level = MPI_THREAD_SINGLE;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &level);
  const int status = RUN_ALL_TESTS();
  MPI_Finalize();
  return status;
}
