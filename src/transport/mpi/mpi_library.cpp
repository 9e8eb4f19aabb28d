#include "transport/mpi/mpi_library.hpp"

#include <fmt/format.h>

#include <atomic>
#include <cstdlib>
#include <mutex>

namespace gradwire::transport {
namespace {

std::atomic<bool> is_left_unfinished{false};

bool is_finalized() noexcept {
  int finalized = 0;
  MPI_Finalized(&finalized);
  return finalized != 0;
}

void finish() {
  if (!is_finalized() && !is_left_unfinished.load()) MPI_Finalize();
}

const char* name_of_level(int level) noexcept {
  return level == MPI_THREAD_SINGLE ? "MPI_THREAD_SINGLE" : "MPI_THREAD_FUNNELED";
}

}  // namespace

void start_mpi() {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (is_finalized()) {
    throw Error(ErrorCode::invalid_argument, "MPI has been finalized, and cannot be used again",
                "connect ranks before MPI_Finalize, or by another transport");
  }
  int begun = 0;
  MPI_Initialized(&begun);
  if (begun == 0) {
    int granted = MPI_THREAD_SINGLE;
    check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &granted), "be initialized");
    std::atexit(finish);
  }
  const int level = mpi_thread_level();
  if (level >= MPI_THREAD_SERIALIZED) return;
  throw Error(ErrorCode::unsupported,
              fmt::format("MPI was initialized with {}, where only one thread may ever call it",
                          name_of_level(level)),
              "ask for MPI_THREAD_MULTIPLE with MPI_Init_thread, or use tcp");
}

bool is_mpi_running() noexcept {
  int begun = 0;
  MPI_Initialized(&begun);
  return begun != 0 && !is_finalized();
}

int mpi_thread_level() noexcept {
  int level = MPI_THREAD_SINGLE;
  MPI_Query_thread(&level);
  return level;
}

void leave_mpi_unfinished() noexcept { is_left_unfinished.store(true); }

MpiErrorText::MpiErrorText(int code) noexcept {
  constexpr std::string_view kUnknown = "an error that MPI has no words for";
  int size = 0;
  if (MPI_Error_string(code, text_.data(), &size) != MPI_SUCCESS) {
    kUnknown.copy(text_.data(), kUnknown.size());
  }
}

void check_mpi(int code, const char* what) {
  if (code == MPI_SUCCESS) return;
  throw Error(ErrorCode::system, fmt::format("MPI could not {}: {}", what, MpiErrorText(code).view()),
              "see what MPI itself printed, or use tcp");
}

}  // namespace gradwire::transport
