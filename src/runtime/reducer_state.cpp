#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "base/byte_reader.hpp"
#include "base/byte_writer.hpp"
#include "base/checksum.hpp"
#include "gradwire/error.hpp"
#include "runtime/reducer_impl.hpp"

namespace gradwire {
namespace {

// A state: this header, then for each tensor its name (16-bit length), the number of floats (64-bit) and the
// floats, then CRC32C of everything before it. Little-endian.
constexpr std::uint32_t kMagic = 0x53525747;  // "GWRS" in memory
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeaderBytes = 4 + 4 + 1 + 4 + 4 + 8 + 4;

static_assert(std::endian::native == std::endian::little, "floats are copied as they lie in memory");

[[noreturn]] void refuse(const std::string& what) {
  throw Error(ErrorCode::invalid_argument,
              fmt::format("this is not a state that can be loaded here: {}", what),
              "pass the bytes of save_state() of this rank, or of save_collapsed_state()");
}

}  // namespace

std::string Reducer::Impl::write_state(bool collapsed, std::span<const FetchedResidual> residuals) const {
  std::size_t size = kHeaderBytes + 4;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    size += 2 + slots_[i].named.name.size() + 8 + residuals[i].size() * sizeof(float);
  }
  std::string state(size, '\0');
  const std::span<std::byte> bytes(reinterpret_cast<std::byte*>(state.data()), state.size());
  base::ByteWriter writer(bytes);
  writer.write(kMagic);
  writer.write(kVersion);
  writer.write(static_cast<std::uint8_t>(collapsed ? 1 : 0));
  writer.write(static_cast<std::uint32_t>(communicator_.rank()));
  writer.write(static_cast<std::uint32_t>(communicator_.world_size()));
  writer.write(step_);
  writer.write(static_cast<std::uint32_t>(slots_.size()));
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    writer.short_text(slots_[i].named.name);
    writer.write(static_cast<std::uint64_t>(residuals[i].size()));
    writer.bytes(std::as_bytes(std::span(residuals[i])));
  }
  writer.write(base::crc32c(writer.written()));
  if (!writer.ok()) refuse("a tensor's name is longer than 65535 bytes");
  return state;
}

std::string Reducer::Impl::save_state() const {
  require_idle();
  std::vector<FetchedResidual> residuals;
  for (const ReducerSlot& slot : slots_) residuals.push_back(slot.residual.fetch());
  return write_state(false, residuals);
}

std::string Reducer::Impl::save_collapsed_state() {
  require_idle();
  std::vector<FetchedResidual> residuals;
  or_abort([&] {
    for (const ReducerSlot& slot : slots_) {
      residuals.push_back(slot.residual.fetch());
      if (!residuals.back().empty()) communicator_.allreduce(std::span<float>(residuals.back()));
    }
  });
  return write_state(true, residuals);
}

void Reducer::Impl::load_state(const std::string& state) {
  require_idle();
  const auto bytes = std::as_bytes(std::span(state));
  if (bytes.size() < kHeaderBytes + 4) refuse(fmt::format("{} bytes are too few", bytes.size()));
  base::ByteReader trailer(bytes.last(4));
  if (trailer.read<std::uint32_t>() != base::crc32c(bytes.first(bytes.size() - 4))) {
    refuse("its checksum does not fit: it was cut or changed");
  }
  base::ByteReader reader(bytes.first(bytes.size() - 4));
  if (reader.read<std::uint32_t>() != kMagic) refuse("it begins with other bytes");
  if (const auto version = reader.read<std::uint32_t>(); version != kVersion) {
    refuse(fmt::format("it has version {}, this build reads version {}", version, kVersion));
  }
  const bool collapsed = reader.read<std::uint8_t>() != 0;
  const auto rank = reader.read<std::uint32_t>();
  const auto world = reader.read<std::uint32_t>();
  const auto step = reader.read<std::uint64_t>();
  if (!collapsed && (rank != static_cast<std::uint32_t>(communicator_.rank()) ||
                     world != static_cast<std::uint32_t>(communicator_.world_size()))) {
    refuse(fmt::format("it is rank {}'s of {}, this is rank {} of {} (a collapsed state fits any)", rank,
                       world, communicator_.rank(), communicator_.world_size()));
  }

  // Read everything, and get all room for it, before changing anything.
  std::vector<FetchedResidual> residuals(slots_.size());
  std::vector<char> seen(slots_.size());
  const auto tensors = reader.read<std::uint32_t>();
  if (tensors != slots_.size())
    refuse(fmt::format("it has {} tensors, this Reducer {}", tensors, slots_.size()));
  for (std::uint32_t i = 0; i < tensors && reader.ok(); ++i) {
    const std::string name = reader.short_text();
    const auto count = reader.read<std::uint64_t>();
    if (!reader.ok() || count > reader.remaining() / sizeof(float)) refuse("it ends too early");
    const auto values = reader.bytes(static_cast<std::size_t>(count) * sizeof(float));
    const auto found = by_name_.find(name);
    if (found == by_name_.end()) refuse(fmt::format("it has a tensor '{}' that this Reducer lacks", name));
    if (std::exchange(seen[found->second], 1) != 0) refuse(fmt::format("it has tensor '{}' twice", name));
    const std::size_t expected = slots_[found->second].named.tensor.count;
    if (count != 0 && count != expected) {
      refuse(fmt::format("tensor '{}' has {} elements there and {} here", name, count, expected));
    }
    if (count != 0 && slots_[found->second].raw) {
      throw Error(
          ErrorCode::invalid_argument,
          fmt::format("tensor '{}' has a residual in the state and goes raw here, with a raw_below of "
                      "{}: the residual would be lost",
                      name, options_.raw_below),
          "make the Reducer with the raw_below that the state was saved with");
    }
    residuals[found->second].resize(static_cast<std::size_t>(count));
    if (!values.empty()) std::memcpy(residuals[found->second].data(), values.data(), values.size());
  }
  if (!reader.ok() || reader.remaining() != 0) refuse("its length does not fit its contents");

  const bool mine = !collapsed || communicator_.rank() == 0;
  std::vector<runtime::PlacedFloats> rooms(slots_.size());
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const ReducerSlot& slot = slots_[i];
    if (slot.residual.empty() && residuals[i].empty()) continue;
    residuals[i].resize(slot.named.tensor.count);
    // A collapsed residual belongs to the sum over ranks: one rank carries it, so that it counts once.
    if (!mine) std::fill(residuals[i].begin(), residuals[i].end(), 0.0F);
    if (slot.residual.empty()) rooms[i] = slot.make_room();
  }
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (residuals[i].empty()) continue;
    if (!rooms[i].empty()) slots_[i].residual = std::move(rooms[i]);
    slots_[i].residual.put(residuals[i]);
  }
  step_ = step;
}

}  // namespace gradwire
