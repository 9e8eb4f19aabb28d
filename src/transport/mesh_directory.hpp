#pragma once

#include <string>
#include <vector>

#include "transport/address_record.hpp"
#include "transport/transport.hpp"

namespace gradwire::transport {

/// The ranks of a mesh as the store knows them: where each of them listens, and whether one gave up.
class MeshDirectory {
 public:
  /// How often a waiting rank looks whether another one gave up.
  static constexpr std::chrono::milliseconds kFailedInterval{250};

  MeshDirectory(const EndpointOptions& options, Store& store, Clock::time_point deadline);

  /// Says where this rank listens.
  void publish(const AddressRecord& own);
  /// Waits until all have said it. Throws Error: timeout naming the missing ranks, what read_record() throws,
  /// and what another rank left that gave up.
  void gather();
  /// Whether somebody else has published as this rank meanwhile: the store may still hold the address of an
  /// earlier run. Throws what read_record() throws.
  bool look_again(int peer);
  /// The same after a moment. Throws also what another rank left that gave up.
  void read_again(int peer);
  void throw_if_others_failed();

  [[nodiscard]] const AddressRecord& of(int rank) const { return records_[static_cast<std::size_t>(rank)]; }
  [[nodiscard]] const AddressRecord& own() const { return of(options_.rank); }
  [[nodiscard]] bool is_on_this_host(int rank) const { return of(rank).host == own().host; }
  /// As Endpoint::hosts().
  [[nodiscard]] std::vector<int> hosts() const;

 private:
  [[nodiscard]] std::string key_of(int rank) const;

  const EndpointOptions& options_;
  Store& store_;
  Clock::time_point deadline_;
  std::vector<AddressRecord> records_;
};

/// Leaves the reason why this rank gives up, unless another one did before. Never throws: whatever the store
/// does, the error that counts is the first.
void announce_failure(const EndpointOptions& options, Store& store, const Error& error) noexcept;

}  // namespace gradwire::transport
