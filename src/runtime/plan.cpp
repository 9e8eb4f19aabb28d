#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "collectives/resolve.hpp"
#include "gradwire/communicator.hpp"
#include "gradwire/error.hpp"
#include "runtime/engine.hpp"

namespace gradwire {

Plan::Plan(std::shared_ptr<runtime::Engine> engine, std::shared_ptr<runtime::Operation> operation) noexcept
    : engine_(std::move(engine)), operation_(std::move(operation)) {}

runtime::Operation& Plan::operation() const {
  if (!operation_) {
    throw Error(ErrorCode::invalid_argument, "a plan that plans nothing was used",
                "make it with Communicator::plan_allreduce()");
  }
  return *operation_;
}

Work Plan::start() {
  (void)operation();
  return engine_->submit(operation_);
}

void Plan::run() { start().wait(); }

std::uint64_t Plan::wire_bytes() const { return operation().wire_bytes; }

std::uint64_t Plan::wire_bytes_inside() const {
  std::uint64_t bytes = 0;
  for (const auto& part : operation().parts) bytes += part.executor.program().sent_inside.wire_bytes();
  return bytes;
}

std::map<std::string, std::uint64_t> Plan::wire_bytes_by_codec() const {
  std::map<std::string, std::uint64_t> bytes;
  for (const auto& part : operation().parts) {
    const auto& program = part.executor.program();
    const std::uint64_t plain = program.sent_plain.wire_bytes();
    if (plain > 0) bytes["none"] += plain;
    bytes[part.executor.codec().spec()] += program.sent.wire_bytes() - plain;
  }
  return bytes;
}

std::string Plan::algorithm() const {
  const auto& parts = operation().parts;
  const auto largest = std::max_element(parts.begin(), parts.end(), [](const auto& a, const auto& b) {
    return a.executor.program().sent.payload_bytes < b.executor.program().sent.payload_bytes;
  });
  return largest == parts.end() ? "none"
                                : std::string(algorithm_name(operation().collective, largest->algorithm));
}

std::pair<std::size_t, std::size_t> Plan::owned(std::size_t index) const {
  if (index >= operation().tensors.size()) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("tensor {} of a plan with {}", index, operation().tensors.size()),
                "pass the index of one of its tensors");
  }
  for (const auto& part : operation().parts) {
    const auto found = std::find(part.tensors.begin(), part.tensors.end(), index);
    if (found == part.tensors.end()) continue;
    return runtime::owned_range(part.executor.layout(), engine_->rank(),
                                static_cast<std::uint32_t>(found - part.tensors.begin()));
  }
  return {0, 0};
}

bool Plan::non_finite() const { return operation().non_finite.load(); }

void Plan::swap_residuals() {
  if (operation().running()) {
    throw Error(ErrorCode::invalid_argument, "residuals were to be swapped while their plan runs",
                "wait for its Work");
  }
  for (auto& tensor : operation_->tensors) {
    if (!tensor.next_residual.empty()) std::swap(tensor.residual, tensor.next_residual);
  }
  for (auto& part : operation_->parts) {
    for (std::size_t i = 0; i < part.tensors.size(); ++i) {
      const auto& tensor = operation_->tensors[part.tensors[i]];
      if (tensor.next_residual.empty()) continue;
      part.buffers[i].residual = tensor.residual.data();
      part.buffers[i].next_residual = tensor.next_residual.data();
    }
  }
}

}  // namespace gradwire
