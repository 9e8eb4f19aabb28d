// What comes out of servers is what went in: sums, means and conservation, on one server and on several.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "server/placement.hpp"
#include "server_calls.hpp"
#include "tests/support/quick.hpp"

namespace gradwire::server {
namespace {

/// Between -1 and 1, from SplitMix64: normal numbers would take longer than all the rest.
Floats random_floats(std::size_t count, std::uint64_t seed) {
  Floats values(count);
  std::uint64_t state = seed * 0x9E3779B97F4A7C15U;
  for (float& value : values) {
    state += 0x9E3779B97F4A7C15U;
    std::uint64_t z = (state ^ (state >> 30U)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
    value = static_cast<float>(static_cast<std::int32_t>(z >> 32U)) * 0x1p-31F;
  }
  return values;
}

Floats gradient_of(std::size_t count, int clock, std::uint32_t worker) {
  return random_floats(count, static_cast<std::uint64_t>(clock) * 100 + worker);
}

struct JobOptions {
  std::string consistency = "bsp";
  std::uint32_t workers = 3;
  std::uint32_t servers = 1;
  std::string push_codec = "none";
  std::string pull_codec = "none";
  std::string optimizer = "sgd:lr=1";
};

/// Servers of one key, and its workers with their residuals and copies of the value: a client without wires.
class Job {
 public:
  Job(const JobOptions& options, std::size_t count)
      : options_(options),
        push_codec_(compress::make_codec(options.push_codec)),
        pull_codec_(compress::make_codec(options.pull_codec)),
        places_(
            place_key("w", count, options.servers, std::max(push_codec_->block(), pull_codec_->block()))) {
    for (std::uint32_t server = 0; server < options.servers; ++server) {
      servers_.emplace_back(ServerStateOptions{.index = server, .servers = options.servers});
      for (std::uint32_t worker = 0; worker < options.workers; ++worker) {
        servers_.back().join({.session = 100 + worker,
                              .worker = worker,
                              .workers = options.workers,
                              .server = server,
                              .servers = options.servers,
                              .consistency = parse_consistency(options.consistency),
                              .push_codec = options.push_codec,
                              .pull_codec = options.pull_codec},
                             at_ms(0));
      }
    }
    for (const ShardPlace& place : places_) {
      servers_[place.server].make_key({.key = "w",
                                       .optimizer = options.optimizer,
                                       .total = count,
                                       .first = place.first,
                                       .count = place.count},
                                      Floats(place.count));
    }
    workers_.resize(options.workers);
    for (Worker& worker : workers_) {
      worker.residual.resize(count);
      worker.received.resize(count);
      for (const ShardPlace& place : places_) {
        worker.mirrors.push_back({.values = Floats(place.count), .incarnation = 1, .version = 0});
      }
    }
  }

  void push(std::uint32_t number, const Floats& gradient) {
    Worker& worker = workers_[number];
    ++worker.sequence;
    for (const ShardPlace& place : places_) {
      Payload payload(push_codec_->max_payload(place.count));
      float* const residual = push_codec_->lossy() ? worker.residual.data() + place.first : nullptr;
      push_codec_->encode({.value = gradient.data() + place.first,
                           .residual = residual,
                           .residual_out = residual,
                           .count = place.count},
                          payload.data());
      EXPECT_TRUE(servers_[place.server].push(number, 100 + number,
                                              {.sequence = worker.sequence, .clock = worker.clock}, payload));
    }
  }

  void clock(std::uint32_t number) {
    Worker& worker = workers_[number];
    ++worker.clock;
    for (ServerState& server : servers_) server.advance(number, 100 + number, {worker.clock});
  }

  Floats pull(std::uint32_t number) {
    Worker& worker = workers_[number];
    Floats out;
    for (std::size_t i = 0; i < places_.size(); ++i) {
      Mirror& mirror = worker.mirrors[i];
      const auto answer = servers_[places_[i].server].pull(
          number, 100 + number,
          {.clock = worker.clock, .incarnation = mirror.incarnation, .version = mirror.version});
      EXPECT_TRUE(answer.has_value());
      Floats decoded(places_[i].count);
      for (const SealedFrame& frame : answer->sealed) {
        pull_codec_->decode_assign(*frame, decoded.data(), decoded.size());
        for (std::size_t k = 0; k < decoded.size(); ++k) worker.received[places_[i].first + k] += decoded[k];
      }
      mirror.take(*answer, *pull_codec_, 1);
      out.insert(out.end(), mirror.values.begin(), mirror.values.end());
    }
    return out;
  }

  [[nodiscard]] Floats& residual(std::uint32_t number) { return workers_[number].residual; }
  /// The sum of all frames that the worker got.
  [[nodiscard]] const std::vector<double>& received(std::uint32_t number) const {
    return workers_[number].received;
  }

 private:
  struct Worker {
    std::uint64_t sequence = 0;
    std::uint64_t clock = 0;
    Floats residual{};
    std::vector<Mirror> mirrors{};
    std::vector<double> received{};
  };

  JobOptions options_;
  std::shared_ptr<const compress::Codec> push_codec_;
  std::shared_ptr<const compress::Codec> pull_codec_;
  std::vector<ShardPlace> places_;
  std::vector<ServerState> servers_;
  std::vector<Worker> workers_;
};

/// A history of `clocks` steps of all workers, whose requests arrive in an order that `shuffle` decides. What
/// each worker pulled last.
std::vector<Floats> trained(const JobOptions& options, std::size_t count, int clocks, unsigned shuffle = 0) {
  Job job(options, count);
  std::mt19937 random(shuffle);
  std::vector<std::uint32_t> order(options.workers);
  std::iota(order.begin(), order.end(), 0U);
  const auto each = [&](auto&& f) {
    if (shuffle != 0) std::shuffle(order.begin(), order.end(), random);
    for (const std::uint32_t worker : order) f(worker);
  };
  std::vector<Floats> pulled(options.workers);
  for (int clock = 0; clock < clocks; ++clock) {
    each([&](std::uint32_t worker) { job.push(worker, gradient_of(count, clock, worker)); });
    each([&](std::uint32_t worker) { job.clock(worker); });
    each([&](std::uint32_t worker) { pulled[worker] = job.pull(worker); });
  }
  return pulled;
}

/// |gradients - what was pulled - residuals of the workers and the servers| over the summed magnitudes.
/// `forgetful` plants the fault of a worker that loses its residual.
double conservation_error(const JobOptions& options, bool forgetful) {
  constexpr std::size_t kCount = 40'000;
  constexpr int kClocks = 100;
  Job job(options, kCount);
  // The same without loss on the way back shows the value itself.
  JobOptions lossless = options;
  lossless.pull_codec = "none";
  Job twin(lossless, kCount);
  std::vector<double> balance(kCount);
  double magnitude = 0;
  Floats estimate;
  Floats value;
  for (int clock = 0; clock < kClocks; ++clock) {
    for (std::uint32_t worker = 0; worker < options.workers; ++worker) {
      const Floats gradient = gradient_of(kCount, clock, worker);
      for (std::size_t i = 0; i < kCount; ++i) {
        balance[i] += double{gradient[i]};
        magnitude += std::fabs(gradient[i]);
      }
      job.push(worker, gradient);
      twin.push(worker, gradient);
      if (forgetful && clock == kClocks / 2)
        std::fill(job.residual(worker).begin(), job.residual(worker).end(), 0.0F);
    }
    for (std::uint32_t worker = 0; worker < options.workers; ++worker) {
      job.clock(worker);
      twin.clock(worker);
    }
    estimate = job.pull(0);
    value = twin.pull(0);
  }
  double error = 0;
  for (std::size_t i = 0; i < kCount; ++i) {
    // With a learning rate of 1, pulls bring -1/W of what was pushed.
    const double server_residual = double{value[i]} - estimate[i];
    double rest = balance[i] + options.workers * (job.received(0)[i] + server_residual);
    for (std::uint32_t worker = 0; worker < options.workers; ++worker) rest -= job.residual(worker)[i];
    error += std::fabs(rest);
  }
  return error / magnitude;
}

TEST(ServerSums, Conserve) {
  for (const std::uint32_t servers : {1U, 2U}) {
    for (const std::string consistency : {"bsp", "ssp:2"}) {
      EXPECT_LT(conservation_error({.consistency = consistency,
                                    .servers = servers,
                                    .push_codec = "onebit",
                                    .pull_codec = "onebit"},
                                   false),
                1e-6)
          << consistency << ", " << servers << " servers";
    }
  }
}

TEST(ServerSums, ConservationNoticesAResidualThatIsLost) {
  EXPECT_GT(conservation_error({.push_codec = "onebit", .pull_codec = "onebit"}, true), 1e-3);
}

TEST(ServerSums, ShardsAreNotSeen) {
  for (const std::string consistency : {"bsp", "ssp:1", "asp"}) {
    for (const std::string codec : {"none", "onebit", "onebit:block=1024"}) {
      for (const std::string optimizer : {"momentum:lr=0.1", "adam:lr=0.01", "average"}) {
        JobOptions options{
            .consistency = consistency, .push_codec = codec, .pull_codec = codec, .optimizer = optimizer};
        const auto expected = trained(options, 70'001, 4);
        for (const std::uint32_t servers : {2U, 3U, 4U}) {
          if (quick() && servers != 3) continue;
          options.servers = servers;
          EXPECT_EQ(trained(options, 70'001, 4), expected)
              << consistency << ", " << codec << ", " << optimizer;
        }
      }
    }
  }
}

TEST(ServerSums, InStepTheOrderOfArrivalChangesNothing) {
  for (const std::string codec : {"none", "onebit"}) {
    const JobOptions options{.workers = 5, .push_codec = codec, .pull_codec = codec, .optimizer = "adam"};
    const auto expected = trained(options, 3000, 6);
    for (const Floats& pulled : expected) EXPECT_EQ(pulled, expected[0]) << "workers hold the same bits";
    for (unsigned shuffle = 1; shuffle <= 10; ++shuffle) {
      EXPECT_EQ(trained(options, 3000, 6, shuffle), expected) << codec;
    }
  }
}

TEST(ServerSums, InStepAStepIsTheSumOverTheWorkers) {
  constexpr std::size_t kCount = 3000;
  for (const std::uint32_t workers : {1U, 2U, 3U, 7U}) {
    const auto pulled = trained({.workers = workers}, kCount, 1);
    std::vector<Floats> gradients;
    for (std::uint32_t worker = 0; worker < workers; ++worker)
      gradients.push_back(gradient_of(kCount, 0, worker));
    for (std::size_t i = 0; i < kCount; ++i) {
      double sum = 0;
      double magnitude = 0;
      for (const Floats& gradient : gradients) {
        sum += gradient[i];
        magnitude += std::fabs(gradient[i]);
      }
      ASSERT_NEAR(pulled[0][i], -sum / workers, magnitude * 1.2e-7) << workers << " workers, element " << i;
    }
  }
}

}  // namespace
}  // namespace gradwire::server
