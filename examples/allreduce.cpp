#include <gradwire/gradwire.hpp>
#include <iostream>
#include <vector>

int main() try {
  auto comm = gradwire::Communicator::from_environment();
  std::vector<float> gradient(1'000'000, static_cast<float>(comm.rank() + 1));
  std::vector<float> residual(gradient.size());  // what rounding took away: the next call adds it back
  comm.allreduce(gradient, {.codec = "onebit", .average = true}, residual);
  std::cout << "rank " << comm.rank() << " of " << comm.world_size() << ": mean " << gradient[0] << ", "
            << comm.traffic().wire_bytes_sent << " bytes sent\n";
} catch (const gradwire::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
