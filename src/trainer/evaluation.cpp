#include "trainer/evaluation.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <span>
#include <vector>

#include "trainer/host_view.hpp"
#include "trainer/softmax_loss.hpp"

namespace gradwire::trainer {

namespace {

/// Test images [begin, end) that the model gets right.
std::size_t correct_answers(Mlp& model, const Dataset& data, std::size_t begin, std::size_t end) {
  std::size_t correct = 0;
  std::vector<std::uint32_t> indices;
  HostView logits(model.compute(), model.logits());
  while (begin < end) {
    const std::size_t rows = std::min(model.max_rows(), end - begin);
    indices.resize(rows);
    std::iota(indices.begin(), indices.end(), static_cast<std::uint32_t>(begin));
    data.gather(data.test, indices, model.inputs());
    const auto labels = std::span(data.test.labels).subspan(begin, rows);
    const std::size_t count = model.forward(rows).size();
    logits.fetch(0, count);
    correct += score(logits.values().first(count), data.classes, labels).correct;
    begin += rows;
  }
  return correct;
}

}  // namespace

std::optional<double> test_accuracy(RankGroup& ranks, Mlp& model, const Dataset& data) {
  const std::size_t count = data.test.count();
  const auto rank = static_cast<std::size_t>(ranks.rank());
  const auto size = static_cast<std::size_t>(ranks.size());
  double total = 0;
  const bool is_shared = ranks.together([&](Communicator& comm) {
    const auto correct = correct_answers(model, data, count * rank / size, count * (rank + 1) / size);
    // Halves of 12 bits, so that sums stay exact in float32 for test sets of any usual size.
    std::array<float, 2> parts{static_cast<float>(correct & 0xfffU), static_cast<float>(correct >> 12U)};
    comm.allreduce(std::span<float>(parts));
    total = static_cast<double>(parts[0]) + 4096.0 * static_cast<double>(parts[1]);
  });
  if (!is_shared && rank != 0) return std::nullopt;
  if (!is_shared) total = static_cast<double>(correct_answers(model, data, 0, count));
  return total / static_cast<double>(count);
}

}  // namespace gradwire::trainer
