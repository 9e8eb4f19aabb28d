#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <utility>

#include "base/aligned_vector.hpp"
#include "compress/codec.hpp"
#include "gradwire/parameter_server.hpp"
#include "server/client_session.hpp"
#include "server/placement.hpp"

namespace gradwire {
namespace {

using server::ClientOperation;
using server::ClientRequest;
using server::ClientShard;

/// What a client knows of a key.
struct Key {
  std::uint64_t count = 0;
  KeyOptions options;
  std::vector<std::shared_ptr<ClientShard>> shards;
  bool is_made = false;
  Work pull;         ///< the last one
  std::mutex mutex;  ///< of the residuals: refused pushes come back from other threads
  base::AlignedVector<float> residual;
  base::AlignedVector<float> next_residual;
};

std::uint64_t random_session() {
  std::random_device device;
  return (std::uint64_t{device()} << 32U | device()) | 1U;
}

void check(const ParameterServerClientOptions& options) {
  if (options.servers.empty()) {
    throw Error(ErrorCode::invalid_argument, "a client of no servers", "name the servers' addresses");
  }
  if (options.workers < 1 || options.worker < 0) {
    throw Error(ErrorCode::invalid_argument, fmt::format("worker {} of {}", options.worker, options.workers),
                "workers are numbered from 0");
  }
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

  std::atomic<std::uint64_t> now{0};
  std::vector<std::unique_ptr<server::ClientSession>> sessions;
  std::vector<float> residual(const std::string& name);

 private:
  using Requests = std::vector<std::shared_ptr<ClientRequest>>;

  Key& key(const std::string& name);
  std::span<float> floats(const std::string& name, const Key& key, Tensor tensor) const;
  void make(const std::string& name, Key& key, std::span<float> value);
  Requests push_requests(const std::string& name, Key& key, std::span<float> values,
                         const std::shared_ptr<ClientOperation>& operation);
  Requests pull_requests(const std::string& name, Key& key, std::span<float> values, std::uint64_t clock,
                         const std::shared_ptr<ClientOperation>& operation) const;
  void submit(const Requests& requests) {
    for (const auto& request : requests) sessions[request->shard->server]->submit(request);
  }
  void keep_for_flush(Work push);
  void forget_ended_pushes();

  const ParameterServerClientOptions options_;
  const std::shared_ptr<const compress::Codec> push_codec_;
  const std::shared_ptr<const compress::Codec> pull_codec_;

  std::mutex
      mutex_;  ///< of what follows, and of the order of requests; never held while waiting for a server
  std::map<std::string, Key> keys_;
  std::vector<Work> pushes_;          ///< that flush() waits for
  std::optional<Error> failed_push_;  ///< that flush() has not told of yet
};

ParameterServerClient::Impl::Impl(const ParameterServerClientOptions& options)
    : options_(options),
      push_codec_(compress::make_codec(options.push_codec)),
      pull_codec_(compress::make_codec(options.pull_codec)) {
  check(options);
  const std::uint64_t session = random_session();
  for (std::size_t i = 0; i < options.servers.size(); ++i) {
    sessions.push_back(std::make_unique<server::ClientSession>(options, static_cast<int>(i), session));
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

Key& ParameterServerClient::Impl::key(const std::string& name) {
  const auto found = keys_.find(name);
  if (found == keys_.end() || !found->second.is_made) {
    throw Error(ErrorCode::invalid_argument, fmt::format("the key '{}' is not known to this client", name),
                "call init() for it first");
  }
  return found->second;
}

std::span<float> ParameterServerClient::Impl::floats(const std::string& name, const Key& key,
                                                     Tensor tensor) const {
  if (tensor.dtype != DType::float32 || tensor.count != key.count ||
      (tensor.data == nullptr && tensor.count > 0)) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("the key '{}' has {} elements of float32, and was given {} of {}", name,
                            key.count, tensor.count, to_string(tensor.dtype)),
                "pass as many float32 as init() was given");
  }
  return {static_cast<float*>(tensor.data), tensor.count};
}

void ParameterServerClient::Impl::init(const std::string& name, Tensor value, const KeyOptions& options) {
  std::unique_lock lock(mutex_);
  const auto [place, is_new] = keys_.try_emplace(name);
  if (!is_new) {
    throw Error(ErrorCode::invalid_argument, fmt::format("the key '{}' was initialised twice", name),
                "call init() once for each key");
  }
  Key& added = place->second;
  lock.unlock();
  try {
    added.count = value.count;
    added.options = options;
    make(name, added, floats(name, added, value));
    if (push_codec_->lossy()) {
      added.residual.resize(value.count);
      added.next_residual.resize(value.count);
    }
  } catch (...) {
    lock.lock();
    keys_.erase(name);
    throw;
  }
  lock.lock();
  added.is_made = true;
}

void ParameterServerClient::Impl::make(const std::string& name, Key& key, std::span<float> value) {
  const auto places = server::place_key(name, key.count, static_cast<std::uint32_t>(sessions.size()),
                                        std::max(push_codec_->block(), pull_codec_->block()));
  const auto operation = std::make_shared<ClientOperation>(places.size());
  Requests requests;
  for (const auto& place : places) {
    auto request = std::make_shared<ClientRequest>();
    request->operation = operation;
    request->head = server::MakeKey{0, name, key.options.optimizer, key.count, place.first, place.count};
    request->shard = std::make_shared<ClientShard>(ClientShard{place.server, place.first, place.count});
    request->out = value.subspan(place.first, place.count);
    request->sent = std::as_bytes(request->out);
    key.shards.push_back(request->shard);
    requests.push_back(std::move(request));
  }
  submit(requests);
  ClientOperation::work_of(operation).wait();
}

/// To all or none: a gradient that cannot be pushed leaves the residual as it was.
ParameterServerClient::Impl::Requests ParameterServerClient::Impl::push_requests(
    const std::string& name, Key& key, std::span<float> values,
    const std::shared_ptr<ClientOperation>& operation) {
  Requests requests;
  const std::lock_guard lock(key.mutex);
  bool finite = true;
  for (const auto& shard : key.shards) {
    auto request = std::make_shared<ClientRequest>();
    request->operation = operation;
    request->shard = shard;
    request->head = server::Push{0, 0, now.load()};
    const auto part = values.subspan(shard->first, shard->count);
    if (push_codec_->identity()) {
      request->sent = std::as_bytes(part);
    } else {
      const auto payload = std::make_shared<server::Payload>(push_codec_->max_payload(part.size()));
      compress::Encode in;
      in.value = part.data();
      in.residual = key.residual.data() + shard->first;
      in.residual_out = key.next_residual.data() + shard->first;
      in.count = part.size();
      finite = push_codec_->encode(in, payload->data()).finite && finite;
      request->sent = *payload;
      request->owner = payload;
      request->give_back = [this, &key, shard, payload] {
        const std::lock_guard back(key.mutex);
        push_codec_->decode_add(*payload, key.residual.data() + shard->first, shard->count, 1.0F);
      };
    }
    requests.push_back(std::move(request));
  }
  if (!finite) {
    throw Error(ErrorCode::non_finite, fmt::format("a NaN or infinity is in the gradient of '{}'", name),
                "skip this step, or lower the learning rate");
  }
  key.residual.swap(key.next_residual);
  return requests;
}

ParameterServerClient::Impl::Requests ParameterServerClient::Impl::pull_requests(
    const std::string& name, Key& key, std::span<float> values, std::uint64_t clock,
    const std::shared_ptr<ClientOperation>& operation) const {
  if (!key.pull.done()) {
    throw Error(ErrorCode::invalid_argument, fmt::format("'{}' is being pulled already", name),
                "wait for the Work first");
  }
  Requests requests;
  for (const auto& shard : key.shards) {
    auto request = std::make_shared<ClientRequest>();
    request->operation = operation;
    request->shard = shard;
    request->head = server::Pull{0, 0, clock, 0, 0};
    request->out = values.subspan(shard->first, shard->count);
    requests.push_back(std::move(request));
  }
  return requests;
}

Work ParameterServerClient::Impl::push(const std::string& name, Tensor gradient) {
  const std::lock_guard lock(mutex_);
  Key& key = this->key(name);
  const auto operation = std::make_shared<ClientOperation>(key.shards.size());
  const auto requests = push_requests(name, key, floats(name, key, gradient), operation);
  Work work = ClientOperation::work_of(operation);
  keep_for_flush(work);
  submit(requests);
  return work;
}

Work ParameterServerClient::Impl::pull(const std::string& name, Tensor out) {
  const std::lock_guard lock(mutex_);
  Key& key = this->key(name);
  const auto operation = std::make_shared<ClientOperation>(key.shards.size());
  const auto requests = pull_requests(name, key, floats(name, key, out), now.load(), operation);
  key.pull = ClientOperation::work_of(operation);
  submit(requests);
  return key.pull;
}

Work ParameterServerClient::Impl::push_pull(const std::string& name, Tensor gradient, Tensor out) {
  const std::lock_guard lock(mutex_);
  Key& key = this->key(name);
  const auto pushed = floats(name, key, gradient);
  const std::size_t shards = key.shards.size();
  // flush() must not wait for the pull, which may need a clock() of this worker.
  const auto both = std::make_shared<ClientOperation>(shards > 0 ? shards + 1 : 0);
  const auto push = std::make_shared<ClientOperation>(shards, both);
  const auto pulls = pull_requests(name, key, floats(name, key, out), now.load() + 1, both);
  const auto pushes = push_requests(name, key, pushed, push);
  key.pull = ClientOperation::work_of(both);
  keep_for_flush(ClientOperation::work_of(push));
  submit(pushes);
  submit(pulls);
  return key.pull;
}

void ParameterServerClient::Impl::clock() {
  const std::lock_guard lock(mutex_);
  // A worker that was connected anew may have been granted a later one without asking for it.
  std::uint64_t clock = now.load();
  for (const auto& session : sessions) clock = std::max(clock, session->granted_clock());
  now.store(++clock);
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
  Key& known = key(name);
  const std::lock_guard still(known.mutex);
  return {known.residual.begin(), known.residual.end()};
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
