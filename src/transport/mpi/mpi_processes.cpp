#include "transport/mpi/mpi_processes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <thread>
#include <utility>

#include "base/fnv1a.hpp"
#include "transport/host_identity.hpp"
#include "transport/mpi/mpi_library.hpp"
#include "transport/mpi/mpi_mesh.hpp"

namespace gradwire::transport {
namespace {

constexpr std::chrono::microseconds kPause{200};
/// What MPI guarantees where it does not say.
constexpr MpiTag kLeastLastTag = 32767;

struct Duplicate : MpiMemory {
  MPI_Comm communicator = MPI_COMM_NULL;
};

struct Hashes : MpiMemory {
  std::uint64_t own = 0;
  std::vector<std::uint64_t> all;
};

struct Text : MpiMemory {
  std::array<char, MpiGroup::kMaxText + 1> bytes{};
};

}  // namespace

void MpiProcesses::open(Clock::time_point deadline) {
  const std::lock_guard lock(opening_);
  if (communicator_ != MPI_COMM_NULL) return;
  start_mpi();
  auto made = std::make_unique<Duplicate>();
  made->requests.resize(1, MPI_REQUEST_NULL);
  constexpr const char* kWhat = "duplicate a communicator";
  check_mpi(MPI_Comm_idup(users_.value_or(MPI_COMM_WORLD), &made->communicator, made->requests.data()),
            kWhat);
  made = finish(std::move(made), kWhat, deadline);
  const MPI_Comm communicator = made->communicator;
  check_mpi(MPI_Comm_set_errhandler(communicator, MPI_ERRORS_RETURN), "have errors returned");
  check_mpi(MPI_Comm_rank(communicator, &rank_), "tell this process's rank");
  check_mpi(MPI_Comm_size(communicator, &size_), "tell how many processes there are");
  const int* last_tag = nullptr;
  int is_known = 0;
  MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, static_cast<void*>(&last_tag), &is_known);
  last_tag_ = is_known != 0 && last_tag != nullptr ? *last_tag : kLeastLastTag;
  id_ = broadcast(communicator, fmt::format("{:016x}", random_token()), deadline);
  communicator_ = communicator;
}

template <typename Memory>
std::unique_ptr<Memory> MpiProcesses::finish(std::unique_ptr<Memory> memory, const char* what,
                                             Clock::time_point deadline) {
  while (true) {
    int complete = 0;
    const int code = MPI_Test(memory->requests.data(), &complete, MPI_STATUS_IGNORE);
    if (code == MPI_SUCCESS && complete != 0) return memory;
    if (code != MPI_SUCCESS || Clock::now() >= deadline) {
      bury(std::move(memory));
      check_mpi(code, what);
      throw Error(ErrorCode::timeout,
                  fmt::format("MPI could not {} in time: not all of its processes take part", what),
                  "let every process that MPI's launcher has started make the same communicators");
    }
    std::this_thread::sleep_for(kPause);
  }
}

bool MpiProcesses::are_alike(const std::string& text, Clock::time_point deadline) {
  auto hashes = std::make_unique<Hashes>();
  hashes->own = base::fnv1a(text);
  hashes->all.resize(static_cast<std::size_t>(size_));
  hashes->requests.resize(1, MPI_REQUEST_NULL);
  constexpr const char* kWhat = "compare the processes' hosts";
  check_mpi(MPI_Iallgather(&hashes->own, 1, MPI_UINT64_T, hashes->all.data(), 1, MPI_UINT64_T, communicator_,
                           hashes->requests.data()),
            kWhat);
  hashes = finish(std::move(hashes), kWhat, deadline);
  return std::ranges::all_of(hashes->all, [&](std::uint64_t each) { return each == hashes->own; });
}

std::string MpiProcesses::from_first(const std::string& text, Clock::time_point deadline) {
  return broadcast(communicator_, text, deadline);
}

std::string MpiProcesses::broadcast(MPI_Comm communicator, const std::string& text,
                                    Clock::time_point deadline) {
  auto shared = std::make_unique<Text>();
  if (rank_ == 0) text.copy(shared->bytes.data(), kMaxText);
  shared->requests.resize(1, MPI_REQUEST_NULL);
  constexpr const char* kWhat = "tell all processes what the first one says";
  check_mpi(MPI_Ibcast(shared->bytes.data(), static_cast<int>(shared->bytes.size()), MPI_CHAR, 0,
                       communicator, shared->requests.data()),
            kWhat);
  shared = finish(std::move(shared), kWhat, deadline);
  return shared->bytes.data();
}

MpiTag MpiProcesses::reserve_tags(int count) {
  const std::lock_guard lock(mutex_);
  // None is used twice: nobody here knows which meshes still live, and MPI may yet bring what was sent to
  // others.
  if (count > last_tag_ - next_tag_) {
    throw Error(ErrorCode::unsupported,
                fmt::format("{} of MPI's tags are needed and {} of {} are left: each communicator over MPI "
                            "takes two for each of its ranks",
                            count, last_tag_ - next_tag_, last_tag_),
                "make fewer communicators and keep them, or use tcp");
  }
  return std::exchange(next_tag_, next_tag_ + count);
}

std::unique_ptr<MpiMeetings> MpiProcesses::meet(const EndpointOptions& options, Store& store,
                                                MeshDirectory& directory, const std::vector<int>& peers,
                                                Clock::time_point deadline) {
  open(deadline);
  auto mesh = std::make_unique<MpiMesh>(shared_from_this(), options, store, directory, deadline);
  mesh->begin(peers);
  return mesh;
}

void end_receive(MpiMemory& memory, MpiTag tag, const MpiProcesses& processes) noexcept {
  MPI_Request& sent = memory.requests.emplace_back(MPI_REQUEST_NULL);
  MPI_Isend(nullptr, 0, MPI_BYTE, processes.rank(), tag, processes.communicator(), &sent);
}

bool has_mpi() noexcept { return true; }

std::string mpi_version() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING + 1> text{};
  int size = 0;
  MPI_Get_library_version(text.data(), &size);
  // "Open MPI v4.1.4, package: Debian OpenMPI, ident: ..."
  const std::string_view whole(text.data());
  return std::string(whole.substr(0, whole.find_first_of(",\n")));
}

bool is_started_by_mpi(base::Launcher launcher) noexcept {
#if defined(OPEN_MPI)
  return launcher == base::Launcher::open_mpi;
#elif defined(MPICH_VERSION)
  return launcher == base::Launcher::hydra;
#else
  (void)launcher;
  return false;
#endif
}

std::shared_ptr<MpiGroup> mpi_world() {
  // Never destroyed: communicators that are static may outlive everything else.
  static const auto* const world =
      new std::shared_ptr<MpiProcesses>(std::make_shared<MpiProcesses>(std::nullopt));
  return *world;
}

std::shared_ptr<MpiGroup> mpi_group(const void* communicator) {
  if (!is_mpi_running()) {
    throw Error(ErrorCode::invalid_argument, "a communicator of an MPI that does not run",
                "call it after MPI_Init_thread and before MPI_Finalize");
  }
  const MPI_Comm users = *static_cast<const MPI_Comm*>(communicator);
  int is_between_groups = 0;
  if (users != MPI_COMM_NULL) MPI_Comm_test_inter(users, &is_between_groups);
  if (users == MPI_COMM_NULL || is_between_groups != 0) {
    throw Error(ErrorCode::invalid_argument,
                users == MPI_COMM_NULL ? "MPI_COMM_NULL" : "an intercommunicator",
                "pass a communicator that this process is a member of");
  }
  return std::make_shared<MpiProcesses>(users);
}

}  // namespace gradwire::transport
