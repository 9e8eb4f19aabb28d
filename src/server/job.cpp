#include "server/job.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "gradwire/error.hpp"

namespace gradwire::server {
namespace {

std::shared_ptr<const compress::Codec> make_serving_codec(const std::string& spec) {
  auto codec = compress::make_codec(spec);
  if (codec->fixed_size()) return codec;
  throw Error(ErrorCode::unsupported,
              fmt::format("codec '{}' has payloads of varying size, which servers cannot take", spec),
              "choose another codec");
}

/// Cuts the first line off; "nothing" where there is none.
std::string_view next_line(std::string_view& text) {
  const std::string_view line = text.substr(0, text.find('\n'));
  text.remove_prefix(std::min(text.size(), line.size() + 1));
  return line.empty() ? "nothing" : line;
}

}  // namespace

Job make_job(std::uint32_t workers, Consistency consistency, const std::string& push_codec,
             const std::string& pull_codec, std::uint32_t kept_versions) {
  if (workers == 0) {
    throw Error(ErrorCode::invalid_argument, "a job of 0 workers",
                "give the number of workers that the job begins with");
  }
  if (consistency.is_synchronous()) consistency = {.mode = Consistency::Mode::bsp};
  if (consistency.mode == Consistency::Mode::asp) consistency.staleness = 0;
  return {.workers = workers,
          .consistency = consistency,
          .codecs = {.push = make_serving_codec(push_codec),
                     .pull = make_serving_codec(pull_codec),
                     .kept_versions = kept_versions}};
}

void Job::save(StateWriter& out) const {
  out.write(workers);
  out.text(to_string(consistency));
  out.text(codecs.push->spec());
  out.text(codecs.pull->spec());
}

Job load_job(StateReader& in, std::uint32_t kept_versions) {
  const auto workers = in.read<std::uint32_t>();
  const Consistency consistency = parse_consistency(in.text());
  const std::string push_codec = in.text();
  const std::string pull_codec = in.text();
  return make_job(workers, consistency, push_codec, pull_codec, kept_versions);
}

std::optional<Error> difference_of(const Job& ours, const Job& theirs) {
  std::optional<Error> found;
  const auto compare = [&](std::string_view what, const auto& here, const auto& there) {
    if (found || here == there) return;
    found.emplace(ErrorCode::invalid_argument,
                  fmt::format("a worker with {} {} asked to join a job with {}", what, there, here),
                  "give all workers of a job the same options, and other servers to another job");
  };
  compare("a number of workers of", ours.workers, theirs.workers);
  compare("consistency", to_string(ours.consistency), to_string(theirs.consistency));
  compare("push codec", ours.codecs.push->spec(), theirs.codecs.push->spec());
  compare("pull codec", ours.codecs.pull->spec(), theirs.codecs.pull->spec());
  return found;
}

void require_same_settings(std::string_view ours, std::string_view theirs) {
  while (!(ours.empty() && theirs.empty())) {
    const std::string_view here = next_line(ours);
    const std::string_view there = next_line(theirs);
    if (here == there) continue;
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("a worker with other settings asked to join: it has '{}', and those that take part "
                    "have '{}'",
                    there, here),
        "give all workers of a job the same options, and other servers to another job");
  }
}

}  // namespace gradwire::server
