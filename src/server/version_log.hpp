#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/aligned_vector.hpp"
#include "compress/codec.hpp"
#include "server/payload.hpp"
#include "server/state_bytes.hpp"

namespace gradwire::server {

/// One payload that turns the estimate of a version into that of the next. Shared: it may outlive the log,
/// since it is lent to links.
using SealedFrame = std::shared_ptr<const Payload>;

/// What the workers hold of a shard's value x, and how they came to hold it: the estimate, and the frames of
/// its last versions. x - estimate is what encoding has lost so far, so no residual is kept beside it.
///
/// With a codec that loses nothing x itself is the estimate: there are versions, but neither copy nor frames.
class VersionLog {
 public:
  /// Version 0 is `value` as it is. At most `kept` frames are kept, and never more than the value has bytes.
  VersionLog(std::shared_ptr<const compress::Codec> codec, std::span<const float> value, std::uint32_t kept);

  /// A new version, as near to `value` as the codec gets. Where memory is short nothing has changed.
  void seal(std::span<const float> value);

  [[nodiscard]] std::uint64_t version() const noexcept { return version_; }
  /// Whether x itself is the estimate.
  [[nodiscard]] bool is_exact() const noexcept { return codec_->identity(); }
  /// Given x.
  [[nodiscard]] std::span<const float> estimate(std::span<const float> value) const noexcept {
    return codec_->identity() ? value : std::span<const float>(estimate_);
  }
  /// The frames after `version`, oldest first. Nothing when they are gone, or the version never was.
  [[nodiscard]] std::optional<std::vector<SealedFrame>> since(std::uint64_t version) const;

  /// The frames are not saved: workers of a restarted server get the estimate whole.
  void save(StateWriter& out) const;
  void restore(StateReader& in);

 private:
  std::shared_ptr<const compress::Codec> codec_;
  std::size_t kept_ = 0;
  base::AlignedVector<float> estimate_;
  base::AlignedVector<float> difference_;
  std::deque<SealedFrame> frames_;  ///< the last one leads to version_
  std::uint64_t version_ = 0;
};

}  // namespace gradwire::server
