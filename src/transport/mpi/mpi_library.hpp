#pragma once

#include <mpi.h>

#include <array>
#include <string_view>

#include "gradwire/error.hpp"
#include "transport/mpi/mpi_transport.hpp"

/// MPI as a whole, of which a process has one. Thread-safe.
namespace gradwire::transport {

/// Initializes MPI unless somebody has, asking for MPI_THREAD_MULTIPLE; then it is finalized when the process
/// exits. Throws Error: unsupported when only one thread may ever call it, invalid_argument after its end.
void start_mpi();
/// Whether it can be called: initialized and not finalized.
[[nodiscard]] bool is_mpi_running() noexcept;
/// What MPI grants: MPI_THREAD_SERIALIZED and so on.
[[nodiscard]] int mpi_thread_level() noexcept;

/// What MPI says of an error, without a need for memory.
class MpiErrorText {
 public:
  explicit MpiErrorText(int code) noexcept;
  [[nodiscard]] std::string_view view() const noexcept { return text_.data(); }

 private:
  std::array<char, MPI_MAX_ERROR_STRING + 1> text_{};
};

/// Throws Error(system) unless `code` is MPI_SUCCESS.
void check_mpi(int code, const char* what);

}  // namespace gradwire::transport
