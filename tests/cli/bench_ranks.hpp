#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

#include "cli/bench_board.hpp"
#include "gradwire/communicator.hpp"
#include "gradwire/store.hpp"

namespace gradwire::cli {

/// Runs `body` as each of so many ranks, which are threads of this process.
inline void as_ranks(int ranks, const std::function<void(Communicator&, BenchBoard&)>& body) {
  const auto store = make_memory_store();
  std::vector<std::thread> threads;
  threads.reserve(static_cast<std::size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      CommunicatorOptions options;
      options.rank = rank;
      options.world_size = ranks;
      options.store = store;
      options.transport = "inproc";
      Communicator communicator(options);
      BenchBoard board(store, rank, ranks, std::chrono::seconds(20));
      body(communicator, board);
      communicator.barrier();
    });
  }
  for (auto& thread : threads) thread.join();
}

}  // namespace gradwire::cli
