#include "cli/output_pump.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace gradwire::cli {
namespace {

constexpr std::size_t kOut = 0;
constexpr std::size_t kErr = 1;
/// poll() passes over it.
constexpr int kNobody = -1;

}  // namespace

OutputPump::OutputPump() : sinks_{OutputSink(STDOUT_FILENO), OutputSink(STDERR_FILENO)} {}

void OutputPump::add(base::UniqueFd out, base::UniqueFd err, const std::string& prefix) {
  if (out) sources_.push_back({std::move(out), LinePrefixer(prefix), kOut});
  if (err) sources_.push_back({std::move(err), LinePrefixer(prefix), kErr});
}

void OutputPump::say(std::string_view line) { sinks_[kErr].queue().append(line).append("\n"); }

void OutputPump::wait(int wake, std::chrono::milliseconds patience) {
  std::vector<pollfd> entries{{wake, POLLIN, 0}};
  for (const auto& sink : sinks_) entries.push_back({sink.empty() ? kNobody : sink.fd(), POLLOUT, 0});
  for (const auto& source : sources_) {
    entries.push_back({sinks_[source.sink].full() ? kNobody : source.pipe.get(), POLLIN, 0});
  }
  if (::poll(entries.data(), entries.size(), static_cast<int>(patience.count())) <= 0) return;

  for (std::size_t i = 0; i < sinks_.size(); ++i) {
    if (entries[1 + i].revents != 0) sinks_[i].write_some();
  }
  // Who prints where nobody reads learns it as if it wrote there itself.
  for (auto& source : sources_) {
    if (sinks_[source.sink].abandoned()) source.pipe.reset();
  }
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    const std::size_t at = (first_ + i) % sources_.size();
    const bool ready = entries[1 + sinks_.size() + at].revents != 0 && sources_[at].pipe;
    if (ready && !sinks_[sources_[at].sink].full()) copy(sources_[at]);
  }
  ++first_;
}

std::size_t OutputPump::copy(Source& source) {
  auto& queue = sinks_[source.sink].queue();
  std::array<char, 65536> buffer{};
  const auto got = ::read(source.pipe.get(), buffer.data(), buffer.size());
  if (got > 0) {
    source.lines.feed(std::string_view(buffer.data(), static_cast<std::size_t>(got)), queue);
    return static_cast<std::size_t>(got);
  }
  if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
    source.lines.finish(queue);
    source.pipe.reset();
  }
  return 0;
}

void OutputPump::finish_reading() {
  for (auto& source : sources_) {
    if (!source.pipe) continue;
    // No more than a rank that is gone can have left: something that it started may print without end.
    const auto capacity = static_cast<std::size_t>(std::max(0, ::fcntl(source.pipe.get(), F_GETPIPE_SZ)));
    for (std::size_t taken = 0, got = 1; taken < capacity && got > 0; taken += got) got = copy(source);
    if (source.pipe) source.lines.finish(sinks_[source.sink].queue());
    source.pipe.reset();
  }
}

bool OutputPump::has_backlog() const noexcept {
  return std::any_of(sinks_.begin(), sinks_.end(), [](const auto& sink) { return !sink.empty(); });
}

int OutputPump::write_error() const noexcept {
  return sinks_[kOut].error() != 0 ? sinks_[kOut].error() : sinks_[kErr].error();
}

}  // namespace gradwire::cli
