#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/aligned_vector.hpp"
#include "compress/codec.hpp"
#include "server/optimizer.hpp"
#include "server/payload.hpp"
#include "server/state_bytes.hpp"
#include "server/version_log.hpp"

namespace gradwire::server {

/// Which part of which key a shard is, and what is made of pushes to it.
struct ShardId {
  std::string key;
  std::string optimizer;    ///< its canonical spec
  std::uint64_t total = 0;  ///< elements of the key
  std::uint64_t first = 0;
  std::uint64_t count = 0;

  friend bool operator==(const ShardId&, const ShardId&) = default;
};

/// A shard's value or estimate at some time, which stays what it was. Shared with answers on their way.
using SharedValue = std::shared_ptr<const base::AlignedVector<float>>;

/// How all shards of a server are coded, and what they share.
struct ShardCodecs {
  std::shared_ptr<const compress::Codec> push;
  std::shared_ptr<const compress::Codec> pull;
  std::uint32_t kept_versions = 16;
  std::shared_ptr<PayloadPool> spare = std::make_shared<PayloadPool>();
};

/// The value of a shard, and what pushes do to it. Payloads have passed Codec::valid().
class Shard {
 public:
  Shard(ShardId id, const ShardCodecs& codecs, std::span<const float> value);

  [[nodiscard]] const ShardId& id() const noexcept { return id_; }
  [[nodiscard]] std::size_t push_bytes() const noexcept { return push_->max_payload(id_.count); }

  /// Not in step: a step of the optimizer with 1 / `sharing` of the gradient.
  void apply(std::span<const std::byte> payload, std::uint32_t sharing);
  /// In step: keeps the gradient until settle(). `payload` gets the memory of an older one instead.
  void hold(std::uint64_t stamp, std::uint32_t worker, std::uint64_t session, Payload& payload);
  /// How many of a worker's gradients with that stamp are kept.
  [[nodiscard]] std::size_t held(std::uint64_t stamp, std::uint32_t worker, std::uint64_t session) const;
  /// In step: for each stamp below `clock`, oldest first, one step with the mean of the gradients held, added
  /// in the order of workers, and one version.
  void settle(std::uint64_t clock);

  /// Seals a version if at least `pushes` were applied since the last one was.
  void refresh(std::uint32_t pushes);
  [[nodiscard]] std::span<const float> estimate() const noexcept { return log_.estimate(*value_); }
  /// The estimate to keep, whatever is pushed meanwhile: one copy of a version for all who ask for it. Free
  /// where the pull codec loses nothing: then the next step leaves the value that is lent alone and writes
  /// elsewhere.
  [[nodiscard]] SharedValue share_estimate();
  [[nodiscard]] const VersionLog& log() const noexcept { return log_; }

  void save(StateWriter& out) const;
  /// Throws Error: corrupt_frame, and what make_optimizer() throws.
  static std::unique_ptr<Shard> load(StateReader& in, const ShardCodecs& codecs);

 private:
  struct Held {
    std::uint32_t worker;
    std::uint64_t session;
    Payload payload;
  };

  /// The value to write to: that of before, where it is lent now, has to be copied from, piece by piece.
  std::shared_ptr<base::AlignedVector<float>> writable();
  /// One step of the optimizer with what `payloads` add up to.
  void step(std::span<const std::span<const std::byte>> payloads, const Share& share);

  ShardId id_;
  std::shared_ptr<const compress::Codec> push_;
  std::shared_ptr<PayloadPool> spare_;  ///< takes gradients that were held
  std::shared_ptr<base::AlignedVector<float>> value_;
  std::shared_ptr<base::AlignedVector<float>> other_;  ///< written next, once the value is lent
  std::unique_ptr<Optimizer> optimizer_;
  VersionLog log_;
  std::weak_ptr<const base::AlignedVector<float>> shared_;  ///< the estimate's copy, while somebody needs it
  std::uint64_t shared_version_ = 0;
  std::map<std::uint64_t, std::vector<Held>> held_;  ///< by stamp; sorted by worker, then as they arrived
  base::AlignedVector<float> sum_;                   ///< of a piece
  std::uint64_t unsealed_ = 0;                       ///< pushes applied since the last version
};

}  // namespace gradwire::server
