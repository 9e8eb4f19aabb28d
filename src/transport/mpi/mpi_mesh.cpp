#include "transport/mpi/mpi_mesh.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "transport/mpi/mpi_library.hpp"
#include "transport/rendezvous_keys.hpp"

namespace gradwire::transport {
namespace {

constexpr const char* kPlacePrefix = "mpi/";
/// So long a rank that seems to have been started by another MPI may be one whose place the store still holds
/// from an earlier run.
constexpr std::chrono::seconds kStrangersPatience{5};

/// A rank's process and tags, and which run of the job it belongs to.
struct Place {
  std::uint64_t token = 0;
  std::string group;  ///< MpiProcesses::id()
  int process = 0;
  MpiTag first_tag = 0;
};

std::string write(const Place& place) {
  return fmt::format("{} {} {} {}", place.token, place.group, place.process, place.first_tag);
}

Place read(const std::string& text, int rank, const EndpointOptions& options, const MpiProcesses& processes) {
  std::istringstream in(text);
  Place place;
  in >> place.token >> place.group >> place.process >> place.first_tag;
  const bool is_of_ours = place.group == processes.id();
  if (!in || place.process < 0 || place.first_tag < 0 || (is_of_ours && place.process >= processes.size()) ||
      (is_of_ours && place.first_tag > processes.last_tag() - 2 * options.world_size)) {
    throw Error(ErrorCode::corrupt_frame,
                fmt::format("the store holds no valid MPI process of rank {}", rank),
                "give this job a store of its own", rank);
  }
  return place;
}

struct Words : MpiMemory {
  wire::HelloBytes hello;
};

}  // namespace

struct MpiMesh::Meeting::Hearing : MpiMemory {
  std::array<std::byte, wire::kMaxHelloBytes> bytes{};
};

MpiMesh::MpiMesh(std::shared_ptr<MpiProcesses> processes, const EndpointOptions& options, Store& store,
                 MeshDirectory& directory, Clock::time_point deadline)
    : processes_(std::move(processes)),
      options_(options),
      store_(store),
      directory_(directory),
      deadline_(deadline),
      first_tag_(processes_->reserve_tags(2 * options.world_size)),
      port_(std::make_shared<MpiPort>(processes_)) {}

void MpiMesh::begin(const std::vector<int>& peers) {
  for (const int peer : peers) {
    meetings_.emplace_back().peer = peer;
    listen_to(meetings_.back());
  }
  const Place own{directory_.own().token, processes_->id(), processes_->rank(), first_tag_};
  store_.set(store_key(options_, kPlacePrefix + std::to_string(options_.rank)), write(own));
  for (Meeting& meeting : meetings_) {
    find(meeting);
    say_hello(meeting);
  }
}

MpiMesh::~MpiMesh() {
  for (Meeting& meeting : meetings_) {
    if (!meeting.hearing || !is_mpi_running()) continue;
    if (meeting.hearing->requests.front() != MPI_REQUEST_NULL) {
      end_receive(*meeting.hearing, tag_from(meeting.peer), *processes_);
    }
    bury(std::move(meeting.hearing));
  }
}

void MpiMesh::find(Meeting& meeting) {
  const int peer = meeting.peer;
  const std::string key = store_key(options_, kPlacePrefix + std::to_string(peer));
  const auto enough = std::min(deadline_, Clock::now() + kStrangersPatience);
  while (true) {
    const auto text = store_.get(key, std::min(time_left(deadline_), MeshDirectory::kFailedInterval));
    const Place place = text ? read(*text, peer, options_, *processes_) : Place{};
    if (text && place.token == directory_.of(peer).token) {
      if (place.group == processes_->id()) {
        meeting.address = {place.process, place.first_tag + 2 * options_.rank};
        meeting.token = place.token;
        return;
      }
      if (Clock::now() >= enough) {
        throw Error(ErrorCode::unsupported,
                    fmt::format("MPI did not start rank {} together with rank {}", peer, options_.rank),
                    "start all ranks with one mpirun, or srun --mpi=pmix, or use another transport", peer);
      }
    }
    if (Clock::now() >= deadline_) throw missing_ranks(options_, {peer});
    if (text) {
      directory_.read_again(peer);
    } else {
      directory_.throw_if_others_failed();
    }
  }
}

void MpiMesh::listen_to(Meeting& meeting) {
  auto hearing = std::make_unique<Meeting::Hearing>();
  hearing->requests.reserve(2);  // with the one that ends it
  hearing->requests.resize(1, MPI_REQUEST_NULL);
  // Until the store tells, nobody knows which process it will be; the tag is for this one peer.
  check_mpi(
      MPI_Irecv(hearing->bytes.data(), static_cast<int>(hearing->bytes.size()), MPI_BYTE, MPI_ANY_SOURCE,
                tag_from(meeting.peer), processes_->communicator(), hearing->requests.data()),
      "receive");
  meeting.hearing = std::move(hearing);
}

void MpiMesh::say_hello(const Meeting& meeting) {
  wire::Hello hello;
  hello.job = options_.job;
  hello.communicator = options_.communicator;
  hello.world_size = static_cast<std::uint32_t>(options_.world_size);
  hello.rank = static_cast<std::uint32_t>(options_.rank);
  hello.peer = static_cast<std::uint32_t>(meeting.peer);
  hello.token = meeting.token;
  hello.layout = directory_.own().token;
  auto words = std::make_unique<Words>();
  words->hello = wire::write_hello(hello);
  words->requests.resize(1, MPI_REQUEST_NULL);
  check_mpi(MPI_Isend(words->hello.buffer.data(), static_cast<int>(words->hello.size), MPI_BYTE,
                      meeting.address.process, meeting.address.tag, processes_->communicator(),
                      words->requests.data()),
            "send");
  bury(std::move(words));
}

void MpiMesh::progress() {
  for (Meeting& meeting : meetings_) {
    if (!meeting.hearing) continue;
    int complete = 0;
    MPI_Status status = {};
    check_mpi(MPI_Test(meeting.hearing->requests.data(), &complete, &status), "receive");
    if (complete == 0) continue;
    int size = 0;
    MPI_Get_count(&status, MPI_BYTE, &size);
    const auto hearing = std::move(meeting.hearing);
    take(meeting, std::span(hearing->bytes).first(static_cast<std::size_t>(size)));
  }
}

void MpiMesh::take(Meeting& meeting, std::span<const std::byte> bytes) {
  const std::string from = fmt::format("rank {}", meeting.peer);
  const wire::Hello hello = wire::read_hello(bytes, from);
  wire::Hello expected;
  expected.job = options_.job;
  expected.communicator = options_.communicator;
  expected.world_size = static_cast<std::uint32_t>(options_.world_size);
  expected.rank = static_cast<std::uint32_t>(options_.rank);
  expected.peer = static_cast<std::uint32_t>(meeting.peer);
  expected.token = directory_.own().token;
  expected.layout = hello.layout;
  wire::check_hello(hello, expected, from);
  while (hello.layout != meeting.token) {
    if (Clock::now() >= deadline_) throw missing_ranks(options_, {meeting.peer});
    directory_.read_again(meeting.peer);
    find(meeting);
    if (hello.layout == meeting.token) say_hello(meeting);
  }
  meeting.met = true;
}

std::vector<int> MpiMesh::missing() const {
  std::vector<int> ranks;
  for (const Meeting& meeting : meetings_) {
    if (!meeting.met) ranks.push_back(meeting.peer);
  }
  return ranks;
}

std::unique_ptr<PeerLink> MpiMesh::link(int peer) {
  const auto meeting = std::ranges::find(meetings_, peer, &Meeting::peer);
  const LinkIdentity identity{options_.rank, peer, options_.world_size, options_.communicator};
  return std::make_unique<MpiLink>(identity, tag_from(peer), meeting->address, port_);
}

}  // namespace gradwire::transport
