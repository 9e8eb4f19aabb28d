#include "server/client_key.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/float_mode.hpp"
#include "gradwire/error.hpp"
#include "server/optimizer.hpp"
#include "server/payload.hpp"
#include "server/placement.hpp"

namespace gradwire::server {
namespace {

std::shared_ptr<ClientRequest> request_to(const std::shared_ptr<ClientShard>& shard,
                                          const std::shared_ptr<ClientOperation>& operation, Request head) {
  auto request = std::make_shared<ClientRequest>();
  request->operation = operation;
  request->head = std::move(head);
  request->shard = shard;
  return request;
}

}  // namespace

ClientKey::ClientKey(std::string name, Tensor value, std::size_t servers,
                     std::shared_ptr<const compress::Codec> push_codec, const compress::Codec& pull_codec)
    : name_(std::move(name)), count_(value.count), push_codec_(std::move(push_codec)) {
  if (name_.empty() || name_.size() > kMaxKeyBytes) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("a key's name of {} bytes ('{}')", name_.size(), name_.substr(0, kMaxKeyBytes)),
                fmt::format("give the key a name of 1 to {} bytes", kMaxKeyBytes));
  }
  static_cast<void>(floats(value));
  const auto places = place_key(name_, count_, static_cast<std::uint32_t>(servers),
                                placement_block(*push_codec_, pull_codec));
  for (const auto& place : places) {
    shards_.push_back(std::make_shared<ClientShard>(ClientShard{place.server, place.first, place.count}));
  }
  if (push_codec_->lossy()) {
    residual_.resize(count_);
    next_residual_.resize(count_);
  }
}

std::span<float> ClientKey::floats(Tensor tensor) const {
  if (!tensor.device.is_host()) {
    throw Error(
        ErrorCode::unsupported,
        fmt::format("the key '{}' was given a tensor on CUDA device {}", name_, tensor.device.number()),
        "copy it to the host: parameter servers take tensors from there");
  }
  if (tensor.dtype != DType::float32 || tensor.count != count_ ||
      (tensor.data == nullptr && tensor.count > 0)) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("the key '{}' has {} elements of float32, and was given {} of {}", name_, count_,
                            tensor.count, to_string(tensor.dtype)),
                "pass as many float32 as init() was given");
  }
  return {static_cast<float*>(tensor.data), tensor.count};
}

ClientKey::Requests ClientKey::make(std::span<float> value, const std::string& optimizer,
                                    const std::shared_ptr<ClientOperation>& operation) const {
  if (!std::ranges::all_of(value, [](float x) { return std::isfinite(x); })) {
    throw Error(ErrorCode::non_finite, fmt::format("a NaN or infinity is in the first values of '{}'", name_),
                "begin with finite ones: no step would mend them");
  }
  // In the form that servers have it in: that is short enough for a message, however it was written.
  const std::string spec = make_optimizer(optimizer, 0)->spec();
  Requests requests;
  for (const auto& shard : shards_) {
    auto request = request_to(shard, operation, MakeKey{0, name_, spec, count_, shard->first, shard->count});
    request->out = value.subspan(shard->first, shard->count);
    request->sent = std::as_bytes(request->out);
    requests.push_back(std::move(request));
  }
  return requests;
}

ClientKey::Requests ClientKey::push(std::span<float> gradient, std::uint64_t clock,
                                    const std::shared_ptr<ClientOperation>& operation) {
  const base::FloatMode float_mode;
  Requests requests;
  const std::lock_guard lock(mutex_);
  bool finite = true;
  for (const auto& shard : shards_) {
    auto request = request_to(shard, operation, Push{0, 0, clock});
    const auto part = gradient.subspan(shard->first, shard->count);
    if (push_codec_->identity()) {
      request->sent = std::as_bytes(part);
    } else {
      finite = encode(part, *request) && finite;
    }
    requests.push_back(std::move(request));
  }
  if (!finite) {
    throw Error(ErrorCode::non_finite, fmt::format("a NaN or infinity is in the gradient of '{}'", name_),
                "skip this step, or lower the learning rate");
  }
  residual_.swap(next_residual_);
  return requests;
}

bool ClientKey::encode(std::span<const float> part, ClientRequest& push) {
  const std::uint64_t first = push.shard->first;
  const auto payload = std::make_shared<Payload>(push_codec_->max_payload(part.size()));
  compress::Encode in;
  in.value = part.data();
  in.residual = residual_.data() + first;
  in.residual_out = next_residual_.data() + first;
  in.count = part.size();
  const bool finite = push_codec_->encode(in, payload->data()).finite;
  push.sent = *payload;
  push.owner = payload;
  push.give_back = [this, first, count = part.size(), payload] {
    const base::FloatMode float_mode;
    const std::lock_guard lock(mutex_);
    push_codec_->decode_add(*payload, residual_.data() + first, count, 1.0F);
  };
  return finite;
}

ClientKey::Requests ClientKey::pull(std::span<float> out, std::uint64_t clock,
                                    const std::shared_ptr<ClientOperation>& operation) const {
  if (!last_pull.done()) {
    throw Error(ErrorCode::invalid_argument, fmt::format("'{}' is being pulled already", name_),
                "wait for the Work first");
  }
  Requests requests;
  for (const auto& shard : shards_) {
    auto request = request_to(shard, operation, Pull{0, 0, clock, 0, 0});
    request->out = out.subspan(shard->first, shard->count);
    requests.push_back(std::move(request));
  }
  return requests;
}

std::vector<float> ClientKey::residual() const {
  const std::lock_guard lock(mutex_);
  return {residual_.begin(), residual_.end()};
}

}  // namespace gradwire::server
