#include <fmt/format.h>

#include "base/limits.hpp"
#include "gradwire/error.hpp"
#include "gradwire/store.hpp"
#include "rendezvous/file_store.hpp"
#include "rendezvous/store_client.hpp"
#include "rendezvous/store_search.hpp"
#include "rendezvous/store_server.hpp"
#include "rendezvous/store_url.hpp"

namespace gradwire {

std::shared_ptr<Store> open_store(const std::string& url, int rank, std::chrono::milliseconds timeout) {
  using rendezvous::StoreUrl;
  if (rank < 0) {
    throw Error(ErrorCode::invalid_argument, fmt::format("rank {} cannot open a store", rank),
                "number ranks from 0");
  }
  if (rank >= base::kMaxRanks) {
    throw Error(ErrorCode::invalid_argument, fmt::format("rank {} cannot open a store", rank),
                fmt::format("use at most {} ranks", base::kMaxRanks));
  }
  const StoreUrl parsed = rendezvous::parse_store_url(url);
  if (parsed.job.size() > base::kMaxJobBytes) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("a job's name of {} bytes is too long", parsed.job.size()),
                fmt::format("keep it to {} bytes", base::kMaxJobBytes));
  }
  if (parsed.scheme == StoreUrl::Scheme::mpi) {
    throw Error(ErrorCode::unsupported, fmt::format("the store {} cannot be opened by a rank alone", url),
                "open it with the options of a communicator, on all ranks");
  }
  if (parsed.scheme == StoreUrl::Scheme::file) {
    return std::make_shared<rendezvous::FileStore>(parsed.place, parsed.job, rank, timeout);
  }
  if (rank == 0) {
    return std::make_shared<rendezvous::StoreServer>(rendezvous::open_listeners(parsed, timeout), parsed.job,
                                                     parsed.scheme == StoreUrl::Scheme::unix_socket);
  }
  return std::make_shared<rendezvous::StoreClient>(parsed, rank, timeout);
}

}  // namespace gradwire
