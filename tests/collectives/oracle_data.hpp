#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "collectives/oracle.hpp"
#include "collectives/resolve.hpp"
#include "tests/support/normal_floats.hpp"

namespace gradwire::collectives::testing {

/// Gradients of very different sizes, the same for the same seed. Residuals are zeros, or none.
inline std::vector<RankData> random_data(int ranks, const std::vector<std::size_t>& counts,
                                         std::uint32_t seed, bool residuals) {
  NormalFloats normal(seed);
  std::vector<RankData> data(static_cast<std::size_t>(ranks));
  for (RankData& rank : data) {
    for (const std::size_t count : counts) {
      auto& tensor = rank.tensors.emplace_back(count);
      for (float& value : tensor) value = normal() * std::exp(2.0F * normal());
      rank.residuals.emplace_back(residuals ? count : 0, 0.0F);
    }
  }
  return data;
}

/// Gives every residual that is kept a value, as after some operations.
inline void randomize_residuals(std::vector<RankData>& data, std::uint32_t seed) {
  NormalFloats normal(seed);
  for (RankData& rank : data) {
    for (auto& residual : rank.residuals) {
      for (float& value : residual) value = 0.1F * normal();
    }
  }
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

/// Whether all ranks hold the same tensors, bit for bit.
inline bool replicas_identical(const std::vector<RankData>& data) {
  for (const RankData& rank : data) {
    for (std::size_t t = 0; t < rank.tensors.size(); ++t) {
      if (!same_bits(rank.tensors[t], data.front().tensors[t])) return false;
    }
  }
  return true;
}

/// One number per element, tensor after tensor, in double.
class Account {
 public:
  explicit Account(const std::vector<std::size_t>& counts) {
    for (const std::size_t count : counts) {
      first_.push_back(balance_.size());
      balance_.resize(balance_.size() + count, 0.0);
    }
  }

  void put(std::size_t tensor, std::size_t element, double value) {
    balance_[first_[tensor] + element] += value;
    magnitude_ += std::abs(value);
  }
  void take(std::size_t tensor, std::size_t element, double value) {
    balance_[first_[tensor] + element] -= value;
  }

  /// What is missing or too much, summed over elements, as a part of all that was put in.
  [[nodiscard]] double error() const {
    double missing = 0;
    for (const double value : balance_) missing += std::abs(value);
    return magnitude_ == 0 ? missing : missing / magnitude_;
  }

 private:
  std::vector<std::size_t> first_;
  std::vector<double> balance_;
  double magnitude_ = 0;
};

/// Runs `operations` of a collective on varying inputs with the residuals carried on, and balances inputs
/// against results and the last residuals, element by element. `between` may tamper with the data after each
/// operation.
template <typename Between>
double conservation_error(const Resolved& resolved, const compress::Codec& codec,
                          const std::vector<std::size_t>& counts, bool average, int operations,
                          Between between) {
  const Schedule& schedule = resolved.schedule;
  const bool gathers =
      schedule.collective == Collective::allgather || schedule.collective == Collective::broadcast;
  const double worth = average && !gathers ? schedule.ranks : 1;
  constexpr std::size_t kPool = 97;
  const auto pool = random_data(kPool, counts, 1, false);
  Account account(counts);
  auto data = random_data(schedule.ranks, counts, 1, true);

  const auto for_each_chunk_element = [&](auto visit) {
    for (const Segment& segment : resolved.layout.segments) {
      for (auto p = segment.piece_begin; p < segment.piece_end; ++p) {
        const Piece& piece = resolved.layout.pieces[p];
        for (std::size_t i = piece.begin; i < piece.begin + piece.count; ++i) {
          visit(schedule.owner[segment.chunk], piece.tensor, i);
        }
      }
    }
  };
  for (int operation = 0; operation < operations; ++operation) {
    for (std::size_t rank = 0; rank < data.size(); ++rank) {
      data[rank].tensors = pool[(static_cast<std::size_t>(operation) * data.size() + rank) % kPool].tensors;
    }
    for_each_chunk_element([&](int owner, std::size_t tensor, std::size_t i) {
      for (std::size_t rank = 0; rank < data.size(); ++rank) {
        if (gathers && static_cast<int>(rank) != owner) continue;
        account.put(tensor, i, static_cast<double>(data[rank].tensors[tensor][i]));
      }
    });
    run_oracle(schedule, resolved.layout, codec, {.average = average}, data);
    for_each_chunk_element([&](int owner, std::size_t tensor, std::size_t i) {
      const RankData& holder = data[static_cast<std::size_t>(owner)];
      account.take(tensor, i, worth * static_cast<double>(holder.tensors[tensor][i]));
    });
    between(data);
  }
  for_each_chunk_element([&](int owner, std::size_t tensor, std::size_t i) {
    for (std::size_t rank = 0; rank < data.size(); ++rank) {
      if (gathers && static_cast<int>(rank) != owner) continue;
      account.take(tensor, i, static_cast<double>(data[rank].residuals[tensor][i]));
    }
  });
  return account.error();
}

}  // namespace gradwire::collectives::testing
