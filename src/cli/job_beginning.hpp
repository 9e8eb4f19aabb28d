#pragma once

#include <string>
#include <utility>

#include "base/unique_fd.hpp"

namespace gradwire::cli {

/// Whether all ranks of a job have set out, as the program that started them sees it: from then on a rank may
/// die alone; before, the others would wait for it.
class JobBeginning {
 public:
  /// Throws std::system_error.
  JobBeginning();

  /// For the environment of the ranks, which inherit what it names.
  [[nodiscard]] std::pair<std::string, std::string> variable() const;
  [[nodiscard]] bool has_come() const;

 private:
  base::UniqueFd event_;
};

/// A rank says so, if the program that started it wants to know.
void tell_that_job_has_begun() noexcept;

}  // namespace gradwire::cli
