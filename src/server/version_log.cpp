#include "server/version_log.hpp"

#include <algorithm>

namespace gradwire::server {

VersionLog::VersionLog(std::shared_ptr<const compress::Codec> codec, std::span<const float> value,
                       std::uint32_t kept)
    : codec_(std::move(codec)) {
  if (codec_->identity()) return;
  estimate_.assign(value.begin(), value.end());
  // More frames than that would be more bytes than the whole estimate.
  kept_ = std::min<std::size_t>(kept, value.size_bytes() / codec_->max_payload(value.size()));
}

void VersionLog::seal(std::span<const float> value) {
  if (!codec_->identity()) {
    // Memory that is not there is noticed before anything has changed.
    difference_.resize(std::max(difference_.size(), std::min(value.size(), piece_elements(*codec_))));
    auto frame = std::make_shared<Payload>(codec_->max_payload(value.size()));
    std::byte* out = frame->data();
    frames_.push_back(std::move(frame));
    bool finite = true;
    for_each_piece(*codec_, value.size(), [&](std::size_t first, std::size_t count) {
      const float* const x = value.data() + first;
      float* const estimate = estimate_.data() + first;
      float* const difference = difference_.data();
      for (std::size_t i = 0; i < count; ++i) difference[i] = x[i] - estimate[i];
      const auto encoded = codec_->encode({.value = difference, .count = count}, out);
      finite = finite && encoded.finite;
      codec_->decode_add({out, encoded.bytes}, estimate, count, 1.0F);
      out += encoded.bytes;
    });
    if (!finite) {
      // The difference may be more than a codec can sum up. A NaN would stay in the estimate for ever.
      std::ranges::copy(value, estimate_.begin());
      frames_.clear();
    }
    if (frames_.size() > kept_) frames_.pop_front();
  }
  ++version_;
}

std::optional<std::vector<SealedFrame>> VersionLog::since(std::uint64_t version) const {
  if (version > version_ || version_ - version > frames_.size()) return std::nullopt;
  const auto missing = static_cast<std::ptrdiff_t>(version_ - version);
  return std::vector<SealedFrame>(frames_.end() - missing, frames_.end());
}

void VersionLog::save(StateWriter& out) const {
  out.write(version_);
  out.floats(estimate_);
}

void VersionLog::restore(StateReader& in) {
  version_ = in.read<std::uint64_t>();
  in.floats(estimate_);
}

}  // namespace gradwire::server
