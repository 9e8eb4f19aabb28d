#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/aligned_vector.hpp"
#include "compress/codec.hpp"
#include "gradwire/tensor.hpp"
#include "gradwire/work.hpp"
#include "server/client_operation.hpp"
#include "server/client_request.hpp"

namespace gradwire::server {

/// What a client knows of a key, and the requests that it makes of what the user asks: one to each server
/// that has a shard of it. One thread at a time may ask, while others end requests. It outlives them.
class ClientKey {
 public:
  using Requests = std::vector<std::shared_ptr<ClientRequest>>;

  /// Of as many elements as `value`, on `servers` servers. Throws Error(invalid_argument) for a name that
  /// servers cannot be told, and for what floats() does not take.
  ClientKey(std::string name, Tensor value, std::size_t servers,
            std::shared_ptr<const compress::Codec> push_codec, const compress::Codec& pull_codec);

  /// How many requests each of the functions below makes.
  [[nodiscard]] std::size_t shards() const noexcept { return shards_.size(); }
  /// Throws Error(invalid_argument) for a tensor unlike the key.
  [[nodiscard]] std::span<float> floats(Tensor tensor) const;

  /// Throws Error: invalid_argument for an optimizer that there is none of, non_finite.
  [[nodiscard]] Requests make(std::span<float> value, const std::string& optimizer,
                              const std::shared_ptr<ClientOperation>& operation) const;
  /// To all servers or none: a gradient that cannot be pushed, for which it throws Error(non_finite), leaves
  /// the residual as it was.
  [[nodiscard]] Requests push(std::span<float> gradient, std::uint64_t clock,
                              const std::shared_ptr<ClientOperation>& operation);
  /// Throws Error(invalid_argument) before the last pull has ended.
  [[nodiscard]] Requests pull(std::span<float> out, std::uint64_t clock,
                              const std::shared_ptr<ClientOperation>& operation) const;

  [[nodiscard]] std::vector<float> residual() const;

  bool is_made = false;  ///< the servers know it
  Work last_pull;

 private:
  /// Makes the payload of a push to one shard. False where the gradient is not finite.
  bool encode(std::span<const float> part, ClientRequest& push);

  const std::string name_;
  const std::uint64_t count_;
  const std::shared_ptr<const compress::Codec> push_codec_;
  std::vector<std::shared_ptr<ClientShard>> shards_;

  mutable std::mutex mutex_;  ///< of what follows: refused pushes come back from other threads
  base::AlignedVector<float> residual_;
  base::AlignedVector<float> next_residual_;
};

}  // namespace gradwire::server
