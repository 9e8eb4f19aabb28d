#include "server/shard.hpp"

#include <algorithm>

#include "base/float_mode.hpp"

namespace gradwire::server {

Shard::Shard(ShardId id, const ShardCodecs& codecs, std::span<const float> value)
    : id_(std::move(id)),
      push_(codecs.push),
      spare_(codecs.spare),
      value_(std::make_shared<base::AlignedVector<float>>(value.begin(), value.end())),
      optimizer_(make_optimizer(id_.optimizer, value.size())),
      log_(codecs.pull, value, codecs.kept_versions) {}

SharedValue Shard::share_estimate() {
  if (log_.is_exact()) return value_;
  auto shared = shared_.lock();
  if (!shared || shared_version_ != log_.version()) {
    const auto estimate = this->estimate();
    shared = std::make_shared<const base::AlignedVector<float>>(estimate.begin(), estimate.end());
    shared_ = shared;
    shared_version_ = log_.version();
  }
  return shared;
}

std::shared_ptr<base::AlignedVector<float>> Shard::writable() {
  if (value_.use_count() == 1) return value_;
  if (!other_ || other_.use_count() > 1)
    other_ = std::make_shared<base::AlignedVector<float>>(value_->size());
  return other_;
}

void Shard::step(std::span<const std::span<const std::byte>> payloads, const Share& share) {
  const base::FloatMode float_mode;
  // Memory that is not there is noticed before anything has changed.
  const auto next = writable();
  sum_.resize(std::max(sum_.size(), std::min(value_->size(), piece_elements(*push_))));
  optimizer_->begin_step();
  for_each_piece(*push_, value_->size(), [&](std::size_t first, std::size_t count) {
    const auto piece = [&](std::size_t i) { return piece_of(*push_, payloads[i], first, count); };
    std::span<const float> sum;
    if (push_->identity() && payloads.size() == 1) {
      sum = {reinterpret_cast<const float*>(piece(0).data()), count};
    } else {
      push_->decode_assign(piece(0), sum_.data(), count);
      for (std::size_t i = 1; i < payloads.size(); ++i) push_->decode_add(piece(i), sum_.data(), count, 1.0F);
      sum = {sum_.data(), count};
    }
    const auto values = std::span(*next).subspan(first, count);
    if (next != value_)
      std::copy_n(value_->begin() + static_cast<std::ptrdiff_t>(first), count, values.begin());
    optimizer_->step(first, values, sum, share);
  });
  if (next != value_) std::swap(value_, other_);
  unsealed_ += payloads.size();
}

void Shard::apply(std::span<const std::byte> payload, std::uint32_t sharing) {
  const float part = 1.0F / static_cast<float>(sharing);
  step({&payload, 1}, {.factor = part, .weight = part});
}

void Shard::hold(std::uint64_t stamp, std::uint32_t worker, std::uint64_t session, Payload& payload) {
  Payload spare = spare_->take(payload.size());
  auto& held = held_[stamp];
  held.reserve(held.size() + 1);
  const auto place = std::upper_bound(held.begin(), held.end(), worker,
                                      [](std::uint32_t number, const Held& h) { return number < h.worker; });
  std::swap(payload, spare);
  held.insert(place, {.worker = worker, .session = session, .payload = std::move(spare)});
}

std::size_t Shard::held(std::uint64_t stamp, std::uint32_t worker, std::uint64_t session) const {
  const auto found = held_.find(stamp);
  if (found == held_.end()) return 0;
  return static_cast<std::size_t>(std::ranges::count_if(
      found->second, [&](const Held& held) { return held.worker == worker && held.session == session; }));
}

void Shard::settle(std::uint64_t clock) {
  while (true) {
    // First of all what there was no memory for after the last step: each is a version.
    refresh(1);
    if (held_.empty() || held_.begin()->first >= clock) return;
    const auto& held = held_.begin()->second;
    if (held.empty()) {  // there was no memory for the first one
      held_.erase(held_.begin());
      continue;
    }
    std::vector<std::span<const std::byte>> payloads;
    // A worker may push several parts of its gradient; and a number's new process is another worker.
    std::size_t workers = 0;
    for (std::size_t i = 0; i < held.size(); ++i) {
      payloads.emplace_back(held[i].payload);
      workers += i == 0 || held[i].worker != held[i - 1].worker || held[i].session != held[i - 1].session;
    }
    step(payloads, {.factor = 1.0F / static_cast<float>(workers), .weight = 1.0F});
    // Before anything else, since a step must not be taken twice.
    auto done = held_.extract(held_.begin());
    for (Held& push : done.mapped()) spare_->give(std::move(push.payload));
  }
}

void Shard::refresh(std::uint32_t pushes) {
  if (unsealed_ < pushes) return;
  const base::FloatMode float_mode;
  log_.seal(*value_);
  unsealed_ = 0;
}

void Shard::save(StateWriter& out) const {
  out.text(id_.key);
  out.text(id_.optimizer);
  out.write(id_.total);
  out.write(id_.first);
  out.write(id_.count);
  out.floats(*value_);
  out.write(optimizer_->steps());
  for (const auto& array : optimizer_->memory()) out.floats(array);
  out.write(unsealed_);
  log_.save(out);
  std::uint64_t pushes = 0;
  for (const auto& [stamp, held] : held_) pushes += held.size();
  out.write(pushes);
  for (const auto& [stamp, held] : held_) {
    for (const Held& push : held) {
      out.write(stamp);
      out.write(push.worker);
      out.write(push.session);
      out.bytes(push.payload);
    }
  }
}

std::unique_ptr<Shard> Shard::load(StateReader& in, const ShardCodecs& codecs) {
  ShardId id{.key = in.text(), .optimizer = in.text()};
  id.total = in.read<std::uint64_t>();
  id.first = in.read<std::uint64_t>();
  id.count = in.read<std::uint64_t>();
  StateReader::check(id.count > 0 && id.count <= in.remaining() / sizeof(float));
  base::AlignedVector<float> value(id.count);
  in.floats(value);
  auto shard = std::make_unique<Shard>(std::move(id), codecs, value);
  shard->optimizer_->set_steps(in.read<std::uint64_t>());
  for (auto& array : shard->optimizer_->memory()) in.floats(array);
  shard->unsealed_ = in.read<std::uint64_t>();
  shard->log_.restore(in);
  constexpr std::size_t kHeldBytes = 8 + 4 + 8;
  for (std::size_t left = in.count(kHeldBytes + shard->push_bytes()); left > 0; --left) {
    const auto stamp = in.read<std::uint64_t>();
    const auto worker = in.read<std::uint32_t>();
    const auto session = in.read<std::uint64_t>();
    const auto bytes = in.bytes(shard->push_bytes());
    StateReader::check(codecs.push->valid(bytes, value.size()));
    Payload payload(bytes.begin(), bytes.end());
    shard->hold(stamp, worker, session, payload);
  }
  return shard;
}

}  // namespace gradwire::server
