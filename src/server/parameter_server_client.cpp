#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "base/host_port.hpp"
#include "base/limits.hpp"
#include "base/random_bits.hpp"
#include "base/socket_address.hpp"
#include "compress/codec.hpp"
#include "gradwire/parameter_server.hpp"
#include "server/client_key.hpp"
#include "server/client_session.hpp"
#include "server/messages.hpp"

namespace gradwire {
namespace {

using server::ClientKey;
using server::ClientOperation;

/// Whether a server is there may change while it is waited for; that its name means nothing is a slip, as a
/// rule.
void require_host(const std::string& address, std::size_t server) {
  std::string why;
  const auto place = base::parse_host_port(address, why);
  if (!place || !base::resolve(place->host, why).empty()) return;
  throw Error(ErrorCode::invalid_argument,
              fmt::format("the host '{}' of server {} ({}) cannot be resolved: {}", place->host, server,
                          address, why),
              "correct the address, or make the name known to this host");
}

ParameterServerClientOptions checked(ParameterServerClientOptions options) {
  if (options.servers.empty()) {
    throw Error(ErrorCode::invalid_argument, "a client of no servers", "name the servers' addresses");
  }
  if (options.workers < 1 || options.worker < 0) {
    throw Error(ErrorCode::invalid_argument, fmt::format("worker {} of {}", options.worker, options.workers),
                "workers are numbered from 0");
  }
  if (options.timeout.count() <= 0) {
    throw Error(ErrorCode::invalid_argument, "a timeout that is not positive",
                "pass a time greater than zero");
  }
  if (options.settings.size() > server::kMaxSettingsBytes) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("settings of {} bytes, {} are allowed", options.settings.size(),
                            server::kMaxSettingsBytes),
                "shorten them: a fingerprint of a value does as well as the value");
  }
  options.timeout = std::min(options.timeout, base::kLongestTimeout);
  for (std::size_t i = 0; i < options.servers.size(); ++i) require_host(options.servers[i], i);
  return options;
}

}  // namespace

class ParameterServerClient::Impl {
 public:
  explicit Impl(const ParameterServerClientOptions& options);
  /// Sessions give refused pushes back to the keys.
  ~Impl() {
    for (const auto& session : sessions) session->end();
    sessions.clear();
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void init(const std::string& name, Tensor value, const KeyOptions& options);
  Work push(const std::string& name, Tensor gradient);
  Work pull(const std::string& name, Tensor out);
  Work push_pull(const std::string& name, Tensor gradient, Tensor out);
  void adopt_granted_clock();
  void clock();
  void flush();
  void rejoin();
  std::vector<float> residual(const std::string& name);

  std::atomic<std::uint64_t> now{0};
  std::vector<std::unique_ptr<server::ClientSession>> sessions;

 private:
  ClientKey& key(const std::string& name);
  void submit(const ClientKey::Requests& requests) {
    for (const auto& request : requests) sessions[request->shard->server]->submit(request);
  }
  void keep_for_flush(Work push);
  void forget_ended_pushes();

  const ParameterServerClientOptions options_;
  const std::shared_ptr<const compress::Codec> push_codec_;
  const std::shared_ptr<const compress::Codec> pull_codec_;

  /// Of what follows, and of the order of requests. Never held while waiting for a server.
  std::mutex mutex_;
  std::map<std::string, ClientKey> keys_;
  std::vector<Work> pushes_;          ///< that flush() waits for
  std::optional<Error> failed_push_;  ///< that flush() has not told of yet
};

ParameterServerClient::Impl::Impl(const ParameterServerClientOptions& options)
    : options_(checked(options)),
      push_codec_(compress::make_codec(options.push_codec)),
      pull_codec_(compress::make_codec(options.pull_codec)) {
  const std::uint64_t session = base::random_bits();
  const auto link = options.link_rate.empty()
                        ? nullptr
                        : transport::make_link_rate(transport::parse_rate(options.link_rate));
  for (std::size_t i = 0; i < options.servers.size(); ++i) {
    sessions.push_back(std::make_unique<server::ClientSession>(options_, static_cast<int>(i), session, link));
  }
}

/// Servers may have granted different ones: the latest counts for all.
void ParameterServerClient::Impl::adopt_granted_clock() {
  std::uint64_t granted = 0;
  for (const auto& session : sessions) granted = std::max(granted, session->wait_until_joined());
  const std::lock_guard lock(mutex_);
  granted = std::max(granted, now.load());
  now.store(granted);
  for (const auto& session : sessions) session->advance(granted);
}

void ParameterServerClient::Impl::rejoin() {
  for (const auto& session : sessions) session->rejoin();
  adopt_granted_clock();
}

ClientKey& ParameterServerClient::Impl::key(const std::string& name) {
  const auto found = keys_.find(name);
  if (found == keys_.end() || !found->second.is_made) {
    throw Error(ErrorCode::invalid_argument, fmt::format("the key '{}' is not known to this client", name),
                "call init() for it first");
  }
  return found->second;
}

void ParameterServerClient::Impl::init(const std::string& name, Tensor value, const KeyOptions& options) {
  std::unique_lock lock(mutex_);
  const auto [place, is_new] =
      keys_.try_emplace(name, name, value, sessions.size(), push_codec_, *pull_codec_);
  if (!is_new) {
    throw Error(ErrorCode::invalid_argument, fmt::format("the key '{}' was initialised twice", name),
                "call init() once for each key");
  }
  ClientKey& added = place->second;
  lock.unlock();
  try {
    const auto operation = std::make_shared<ClientOperation>(added.shards());
    submit(added.make(added.floats(value), options.optimizer, operation));
    ClientOperation::work_of(operation).wait();
  } catch (...) {
    lock.lock();
    keys_.erase(name);
    throw;
  }
  lock.lock();
  added.is_made = true;
}

Work ParameterServerClient::Impl::push(const std::string& name, Tensor gradient) {
  const std::lock_guard lock(mutex_);
  ClientKey& key = this->key(name);
  const auto operation = std::make_shared<ClientOperation>(key.shards());
  const auto requests = key.push(key.floats(gradient), now.load(), operation);
  Work work = ClientOperation::work_of(operation);
  keep_for_flush(work);
  submit(requests);
  return work;
}

Work ParameterServerClient::Impl::pull(const std::string& name, Tensor out) {
  const std::lock_guard lock(mutex_);
  ClientKey& key = this->key(name);
  const auto operation = std::make_shared<ClientOperation>(key.shards());
  const auto requests = key.pull(key.floats(out), now.load(), operation);
  key.last_pull = ClientOperation::work_of(operation);
  submit(requests);
  return key.last_pull;
}

Work ParameterServerClient::Impl::push_pull(const std::string& name, Tensor gradient, Tensor out) {
  const std::lock_guard lock(mutex_);
  ClientKey& key = this->key(name);
  const auto pushed = key.floats(gradient);
  const auto pulled = key.floats(out);
  if (pushed.data() < pulled.data() + pulled.size() && pulled.data() < pushed.data() + pushed.size()) {
    throw Error(ErrorCode::invalid_argument, fmt::format("gradient and values of '{}' overlap", name),
                "give push_pull() memory of its own for each");
  }
  const std::size_t shards = key.shards();
  // flush() must not wait for the pull, which may need a clock() of this worker.
  const auto both = std::make_shared<ClientOperation>(shards > 0 ? shards + 1 : 0);
  const auto push = std::make_shared<ClientOperation>(shards, both);
  const auto pulls = key.pull(pulled, now.load() + 1, both);
  const auto pushes = key.push(pushed, now.load(), push);
  key.last_pull = ClientOperation::work_of(both);
  keep_for_flush(ClientOperation::work_of(push));
  submit(pushes);
  submit(pulls);
  return key.last_pull;
}

void ParameterServerClient::Impl::clock() {
  const std::lock_guard lock(mutex_);
  const std::uint64_t clock = now.load() + 1;
  now.store(clock);
  // Others wait for this worker at every server: one that has failed does not keep the rest from hearing it.
  std::optional<Error> failure;
  for (const auto& session : sessions) {
    try {
      session->advance(clock);
    } catch (const Error& error) {
      if (!failure) failure = error;
    }
  }
  if (failure) throw Error(*failure);
}

void ParameterServerClient::Impl::keep_for_flush(Work push) {
  forget_ended_pushes();
  pushes_.push_back(std::move(push));
}

void ParameterServerClient::Impl::forget_ended_pushes() {
  std::erase_if(pushes_, [this](Work& push) {
    if (!push.done()) return false;
    try {
      push.wait();
    } catch (const Error& error) {
      if (!failed_push_) failed_push_ = error;
    }
    return true;
  });
}

void ParameterServerClient::Impl::flush() {
  std::unique_lock lock(mutex_);
  auto pushes = pushes_;
  lock.unlock();
  // To the last one, whatever becomes of the first: gradients are lent until then.
  for (Work& push : pushes) {
    try {
      push.wait();
    } catch (const Error&) {
      continue;  // It is among those that have ended.
    }
  }
  lock.lock();
  forget_ended_pushes();
  if (const auto failure = std::exchange(failed_push_, std::nullopt)) throw Error(*failure);
}

std::vector<float> ParameterServerClient::Impl::residual(const std::string& name) {
  const std::lock_guard lock(mutex_);
  return key(name).residual();
}

ParameterServerClient::ParameterServerClient(const ParameterServerClientOptions& options)
    : impl_(std::make_unique<Impl>(options)) {
  impl_->adopt_granted_clock();
}
ParameterServerClient::~ParameterServerClient() = default;
ParameterServerClient::ParameterServerClient(ParameterServerClient&&) noexcept = default;
ParameterServerClient& ParameterServerClient::operator=(ParameterServerClient&&) noexcept = default;

void ParameterServerClient::init(const std::string& key, Tensor value, const KeyOptions& options) {
  impl_->init(key, value, options);
}
Work ParameterServerClient::push(const std::string& key, Tensor gradient) {
  return impl_->push(key, gradient);
}
Work ParameterServerClient::pull(const std::string& key, Tensor out) { return impl_->pull(key, out); }
Work ParameterServerClient::push_pull(const std::string& key, Tensor gradient, Tensor out) {
  return impl_->push_pull(key, gradient, out);
}
void ParameterServerClient::clock() { impl_->clock(); }
void ParameterServerClient::flush() { impl_->flush(); }
void ParameterServerClient::rejoin() { impl_->rejoin(); }
std::uint64_t ParameterServerClient::now() const noexcept { return impl_->now.load(); }

ParameterServerClientReport ParameterServerClient::report() const noexcept {
  ParameterServerClientReport report;
  for (const auto& session : impl_->sessions) session->add_to(report);
  report.mean_staleness /= static_cast<double>(std::max<std::uint64_t>(report.pulls, 1));
  return report;
}
std::vector<float> ParameterServerClient::residual(const std::string& key) const {
  return impl_->residual(key);
}

}  // namespace gradwire
