#pragma once

#include <array>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "transport/mpi/mpi_link.hpp"
#include "transport/mpi/mpi_processes.hpp"
#include "wire/hello.hpp"

namespace gradwire::transport {

/// See MpiMeetings. Each rank says in the store which process it is and which tags are its own, and says
/// hello to all its peers there. A hello carries both ranks' tokens: the receiver's as the sender knows it,
/// which must be right, and the sender's own. If that is another one than the receiver has read, the store
/// still held the place of an earlier run; it is read again, and the hello, which went astray, is said again.
class MpiMesh final : public MpiMeetings {
 public:
  /// All of these outlive it.
  MpiMesh(std::shared_ptr<MpiProcesses> processes, const EndpointOptions& options, Store& store,
          MeshDirectory& directory, Clock::time_point deadline);
  ~MpiMesh() override;
  MpiMesh(const MpiMesh&) = delete;
  MpiMesh& operator=(const MpiMesh&) = delete;

  /// Finds the peers and says hello to them.
  void begin(const std::vector<int>& peers);

  void progress() override;
  [[nodiscard]] std::vector<int> missing() const override;
  [[nodiscard]] std::unique_ptr<PeerLink> link(int peer) override;

 private:
  struct Meeting {
    int peer = 0;
    MpiAddress address;
    std::uint64_t token = 0;  ///< of the peer, as its record in the store has it
    bool met = false;
    struct Hearing;
    std::unique_ptr<Hearing> hearing;  ///< for its hello
  };

  void find(Meeting& meeting);
  void listen_to(Meeting& meeting);
  void say_hello(const Meeting& meeting);
  void take(Meeting& meeting, std::span<const std::byte> bytes);
  [[nodiscard]] MpiTag tag_from(int peer) const noexcept { return first_tag_ + 2 * peer; }

  std::shared_ptr<MpiProcesses> processes_;
  const EndpointOptions& options_;
  Store& store_;
  MeshDirectory& directory_;
  Clock::time_point deadline_;
  MpiTag first_tag_;
  std::shared_ptr<MpiPort> port_;
  std::vector<Meeting> meetings_;
};

}  // namespace gradwire::transport
