#pragma once

#include <exception>
#include <functional>
#include <optional>
#include <thread>
#include <vector>

#include "gradwire/communicator.hpp"
#include "gradwire/error.hpp"
#include "gradwire/store.hpp"

namespace gradwire {

/// Options of rank `rank` in a world of threads that meet in `store`.
inline CommunicatorOptions thread_options(int rank, int ranks, std::shared_ptr<Store> store) {
  CommunicatorOptions options;
  options.rank = rank;
  options.world_size = ranks;
  options.store = std::move(store);
  options.transport = "inproc";
  options.timeout = std::chrono::seconds(20);
  return options;
}

/// Runs `body` as every rank of a world of threads, and returns what each of them threw.
inline std::vector<std::optional<Error>> run_ranks(
    int ranks, const std::function<void(Communicator&)>& body,
    const std::function<void(CommunicatorOptions&)>& adjust = {}) {
  const auto store = make_memory_store();
  std::vector<std::optional<Error>> errors(static_cast<std::size_t>(ranks));
  std::vector<std::thread> threads;
  threads.reserve(static_cast<std::size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        auto options = thread_options(rank, ranks, store);
        if (adjust) adjust(options);
        Communicator communicator(options);
        body(communicator);
      } catch (const Error& error) {
        errors[static_cast<std::size_t>(rank)] = error;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  return errors;
}

/// run_ranks, where any error fails the test.
inline void expect_ranks(int ranks, const std::function<void(Communicator&)>& body,
                         const std::function<void(CommunicatorOptions&)>& adjust = {}) {
  for (const auto& error : run_ranks(ranks, body, adjust)) {
    if (error) throw Error(*error);
  }
}

}  // namespace gradwire
