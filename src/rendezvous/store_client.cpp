#include "rendezvous/store_client.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/random_bits.hpp"
#include "base/stream_socket.hpp"
#include "gradwire/error.hpp"
#include "rendezvous/store_search.hpp"

namespace gradwire::rendezvous {
namespace {

/// Beyond the time that the server itself may take: for the way there and back, and a busy host.
constexpr std::chrono::seconds kSlack{20};

}  // namespace

StoreClient::StoreClient(const StoreUrl& url, int rank, std::chrono::milliseconds timeout)
    : url_(url.text()) {
  hello_.rank = static_cast<std::uint32_t>(rank);
  hello_.session = base::random_bits();
  hello_.job = url.job;
  FoundStore found = find_store(url, hello_, timeout);
  server_ = found.address;
  idle_.push_back(std::move(found.fd));
}

void StoreClient::set(const std::string& key, const std::string& value) {
  check_entry(key, value);
  if (!exchange({StoreVerb::set, std::chrono::milliseconds(0), key, value})) {
    throw store_is_full(key.size() + value.size());
  }
}

std::optional<std::string> StoreClient::get(const std::string& key, std::chrono::milliseconds timeout) {
  return exchange({StoreVerb::get, std::clamp(timeout, std::chrono::milliseconds(0), kLongestWait), key, {}});
}

std::optional<std::string> StoreClient::exchange(const Request& request) {
  base::UniqueFd fd = take_connection();
  const auto deadline = Clock::now() + request.timeout + kSlack;
  std::string head(kReplyHead, '\0');
  if (!send_all(fd.get(), write_request(request), deadline) ||
      !receive_all(fd.get(), head.data(), head.size(), deadline)) {
    lost();
  }
  const auto reply = read_reply_head(head);
  if (!reply) lost();
  std::string value(reply->size, '\0');
  if (!receive_all(fd.get(), value.data(), value.size(), deadline)) lost();
  {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(fd));
  }
  if (!reply->found) return std::nullopt;
  return value;
}

base::UniqueFd StoreClient::take_connection() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      base::UniqueFd fd = std::move(idle_.back());
      idle_.pop_back();
      return fd;
    }
  }
  int error = 0;
  const auto deadline = Clock::now() + kSlack;
  base::UniqueFd fd = base::connect_to(server_, deadline, error);
  std::string answer(kStoreAnswer, '\0');
  if (!fd || !send_all(fd.get(), write_store_hello(hello_), deadline) ||
      !receive_all(fd.get(), answer.data(), answer.size(), deadline) ||
      read_store_answer(answer) != Verdict::welcome) {
    lost();
  }
  return fd;
}

void StoreClient::lost() const {
  throw Error(ErrorCode::peer_lost, fmt::format("rank 0, which serves the store at {}, is gone", url_),
              "look at rank 0's own output for the reason, and start the job again", 0);
}

}  // namespace gradwire::rendezvous
