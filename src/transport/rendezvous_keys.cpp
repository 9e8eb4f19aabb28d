#include "transport/rendezvous_keys.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "transport/link_end.hpp"

namespace gradwire::transport {

std::string store_key(const EndpointOptions& options, const std::string& name) {
  return fmt::format("gradwire/{}/{}/{}", options.job, options.communicator, name);
}

std::string write_failure(const EndpointOptions& options, const Error& error) {
  return fmt::format("{} rank {} could not connect ({})", static_cast<int>(error.code()), options.rank,
                     error.what());
}

Error read_failure(const std::string& value) {
  constexpr std::ptrdiff_t kLongest = 1000;
  std::uint32_t code = 0;
  const char* const end = value.data() + value.size();
  const auto [rest, problem] = std::from_chars(value.data(), end, code);
  const bool is_whole = problem == std::errc{} && end - rest > 1 && *rest == ' ';
  return {(is_whole ? to_error_code(code) : std::nullopt).value_or(ErrorCode::peer_lost),
          is_whole ? std::string(rest + 1, rest + 1 + std::min(kLongest, end - rest - 1))
                   : "another rank gave up while the ranks were connecting",
          "mend that and restart the job"};
}

std::chrono::milliseconds time_left(Clock::time_point deadline) {
  return std::max(std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()),
                  std::chrono::milliseconds{0});
}

Error missing_ranks(const EndpointOptions& options, const std::vector<int>& ranks) {
  std::string list;
  for (const int rank : ranks) list += fmt::format("{}{}", list.empty() ? "" : ", ", rank);
  const bool one = ranks.size() == 1;
  return {ErrorCode::timeout,
          fmt::format("{} {} of {} did not appear within {:g} s", one ? "rank" : "ranks", list,
                      options.world_size, std::chrono::duration<double>(options.timeout).count()),
          "see whether they started, with the same job name, world size and store",
          one ? std::optional(ranks.front()) : std::nullopt};
}

std::vector<int> ranks_without_key(const EndpointOptions& options, Store& store, const std::string& prefix) {
  std::vector<int> missing;
  for (int rank = 0; rank < options.world_size; ++rank) {
    if (rank == options.rank) continue;
    const auto key = store_key(options, prefix + std::to_string(rank));
    if (!store.get(key, std::chrono::milliseconds{0})) missing.push_back(rank);
  }
  return missing;
}

}  // namespace gradwire::transport
