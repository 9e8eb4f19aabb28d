#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "gradwire/export.hpp"

namespace gradwire {

namespace base {
class WorkSource;
}

/// A running operation. Copies refer to the same one. Any thread may call any method.
class GRADWIRE_EXPORT Work {
 public:
  Work() = default;

  /// Whether it has ended, in success or failure. Makes no progress itself.
  [[nodiscard]] bool done() const noexcept;

  /// Makes progress until the operation has ended; throws the Error it ended with. Without an argument the
  /// communicator's timeout (time without progress) applies; with one, at most `patience` of time passes,
  /// then false is returned and the operation goes on; zero polls.
  void wait();
  [[nodiscard]] bool wait_for(std::chrono::nanoseconds patience);

 private:
  friend class base::WorkSource;
  Work(std::shared_ptr<base::WorkSource> source, std::shared_ptr<void> operation,
       std::uint64_t sequence) noexcept;

  std::shared_ptr<base::WorkSource> source_;
  std::shared_ptr<void> operation_;
  std::uint64_t sequence_ = 0;
};

}  // namespace gradwire
