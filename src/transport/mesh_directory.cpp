#include "transport/mesh_directory.hpp"

#include <algorithm>
#include <map>
#include <thread>
#include <utility>

#include "transport/rendezvous_keys.hpp"

namespace gradwire::transport {
namespace {

using std::chrono::milliseconds;

constexpr const char* kAddressPrefix = "address/";
constexpr const char* kFailedKey = "failed";
constexpr milliseconds kRereadPause{50};

}  // namespace

MeshDirectory::MeshDirectory(const EndpointOptions& options, Store& store, Clock::time_point deadline)
    : options_(options),
      store_(store),
      deadline_(deadline),
      records_(static_cast<std::size_t>(options.world_size)) {}

std::string MeshDirectory::key_of(int rank) const {
  return store_key(options_, kAddressPrefix + std::to_string(rank));
}

void MeshDirectory::publish(const AddressRecord& own) {
  records_[static_cast<std::size_t>(options_.rank)] = own;
  store_.set(key_of(options_.rank), write_record(own));
}

void MeshDirectory::gather() {
  for (int rank = 0; rank < options_.world_size; ++rank) {
    if (rank == options_.rank) continue;
    std::optional<std::string> bytes;
    while (!(bytes = store_.get(key_of(rank), std::min(time_left(deadline_), kFailedInterval)))) {
      throw_if_others_failed();
      if (Clock::now() >= deadline_) {
        throw missing_ranks(options_, ranks_without_key(options_, store_, kAddressPrefix));
      }
    }
    records_[static_cast<std::size_t>(rank)] = read_record(*bytes, rank, options_);
  }
}

void MeshDirectory::read_again(int peer) {
  throw_if_others_failed();
  std::this_thread::sleep_for(kRereadPause);
  look_again(peer);
}

bool MeshDirectory::look_again(int peer) {
  const auto bytes = store_.get(key_of(peer), milliseconds{0});
  if (!bytes) return false;
  AddressRecord& record = records_[static_cast<std::size_t>(peer)];
  const std::uint64_t token = std::exchange(record, read_record(*bytes, peer, options_)).token;
  return record.token != token;
}

std::vector<int> MeshDirectory::hosts() const {
  std::vector<int> hosts;
  std::map<std::string, int> numbers;
  for (const AddressRecord& record : records_) {
    const int next = static_cast<int>(numbers.size());
    hosts.push_back(numbers.try_emplace(record.group, next).first->second);
  }
  return hosts;
}

void MeshDirectory::throw_if_others_failed() {
  const auto failed = store_.get(store_key(options_, kFailedKey), milliseconds{0});
  if (failed) throw read_failure(*failed);
}

void announce_failure(const EndpointOptions& options, Store& store, const Error& error) noexcept {
  try {
    const std::string key = store_key(options, kFailedKey);
    if (!store.get(key, milliseconds{0})) store.set(key, write_failure(options, error));
  } catch (...) {
    // Without the store the others have to wait.
  }
}

}  // namespace gradwire::transport
