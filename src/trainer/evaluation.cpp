#include "trainer/evaluation.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <span>
#include <vector>

#include "trainer/softmax_loss.hpp"

namespace gradwire::trainer {

double test_accuracy(Communicator& comm, Mlp& model, const Dataset& data) {
  const std::size_t count = data.test.count();
  const auto rank = static_cast<std::size_t>(comm.rank());
  const auto world_size = static_cast<std::size_t>(comm.world_size());
  const std::size_t end = count * (rank + 1) / world_size;
  std::size_t correct = 0;
  std::vector<std::uint32_t> indices;
  for (std::size_t begin = count * rank / world_size; begin < end;) {
    const std::size_t rows = std::min(model.max_rows(), end - begin);
    indices.resize(rows);
    std::iota(indices.begin(), indices.end(), static_cast<std::uint32_t>(begin));
    data.gather(data.test, indices, model.inputs());
    const auto labels = std::span(data.test.labels).subspan(begin, rows);
    correct += score(model.forward(rows), data.classes, labels).correct;
    begin += rows;
  }
  // Halves of 12 bits, so that sums stay exact in float32 for test sets of any usual size.
  std::array<float, 2> parts{static_cast<float>(correct & 0xfffU), static_cast<float>(correct >> 12U)};
  comm.allreduce(std::span<float>(parts));
  const double total = static_cast<double>(parts[0]) + 4096.0 * static_cast<double>(parts[1]);
  return total / static_cast<double>(count);
}

}  // namespace gradwire::trainer
