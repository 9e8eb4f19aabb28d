#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "gradwire/inspect.hpp"
#include "gradwire/reducer.hpp"
#include "local_world.hpp"
#include "tests/support/every_algorithm.hpp"

namespace {

// Of this thread: another rank may still be leaving a barrier.
thread_local std::size_t allocations = 0;

void* counted(std::size_t size) {
  ++allocations;
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// Every allocation is counted.
void* operator new(std::size_t size) { return counted(size); }
void* operator new[](std::size_t size) { return counted(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace gradwire {
namespace {

TEST(Allocations, TheCounterCounts) {
  const std::size_t before = allocations;
  std::vector<float> values(100);
  values.resize(200);
  EXPECT_EQ(allocations, before + 2);
}

TEST(Allocations, RunningAPlanMakesNone) {
  for (const std::string& transport : inspect::transports()) {
    if (transport == "mpi") continue;  // MPI allocates as it likes, and never frees some of it
    for (const std::string& algorithm : algorithm_names()) {
      std::atomic<std::size_t> made{0};
      expect_ranks(
          3,
          [&](Communicator& communicator) {
            std::vector<float> weights(30'000, 1.0F);
            std::vector<float> bias(10, 1.0F);
            std::vector<float> residual(30'000);
            std::vector<float> next(30'000);
            const std::array tensors{
                OperationTensor{.tensor = std::span(weights),
                                .residual = residual,
                                .next_residual = next,
                                .codec = "onebit"},
                OperationTensor{
                    .tensor = std::span(bias), .residual = {}, .next_residual = {}, .codec = "none"}};
            Plan plan = communicator.plan_allreduce(tensors, {.algorithm = algorithm, .average = true});
            for (int i = 0; i < 5; ++i) plan.run();
            communicator.barrier();
            const std::size_t before = allocations;
            for (int i = 0; i < 20; ++i) plan.run();
            made += allocations - before;
            communicator.barrier();
          },
          [&](CommunicatorOptions& options) { options.transport = transport; });
      EXPECT_EQ(made.load(), 0U) << transport << " " << algorithm;
    }
  }
}

}  // namespace
}  // namespace gradwire
