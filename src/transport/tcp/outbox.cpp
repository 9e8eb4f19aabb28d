#include "transport/tcp/outbox.hpp"

#include <algorithm>

namespace gradwire::transport {

void Outbox::push(const wire::Header& header, std::span<const std::byte> payload) noexcept {
  Entry& added = entries_[(first_ + count_) % entries_.size()];
  wire::write_header(header, added.header);
  added.payload = payload;
  ++count_;
  bytes_ += added.size();
}

void Outbox::drop_all() noexcept {
  completed_ += count_;
  count_ = 0;
  offset_ = 0;
  bytes_ = 0;
}

std::size_t Outbox::gather(std::span<iovec> parts, std::size_t most) const noexcept {
  std::size_t used = 0;
  std::size_t skip = offset_;
  const auto add = [&](std::span<const std::byte> bytes) {
    const std::size_t skipped = std::min(skip, bytes.size());
    skip -= skipped;
    bytes = bytes.subspan(skipped);
    bytes = bytes.first(std::min(bytes.size(), most));
    if (bytes.empty() || used == parts.size()) return;
    parts[used++] = {const_cast<std::byte*>(bytes.data()), bytes.size()};
    most -= bytes.size();
  };
  for (std::size_t i = 0; i < count_ && most > 0 && used < parts.size(); ++i) {
    add(entry(i).header);
    add(entry(i).payload);
  }
  return used;
}

void Outbox::sent(std::size_t bytes) noexcept {
  bytes_ -= bytes;
  offset_ += bytes;
  while (count_ > 0 && offset_ >= entry(0).size()) {
    offset_ -= entry(0).size();
    first_ = (first_ + 1) % entries_.size();
    --count_;
    ++completed_;
  }
}

}  // namespace gradwire::transport
