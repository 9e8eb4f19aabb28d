#include "rendezvous/store_url.hpp"

#include <fmt/format.h>

#include <charconv>
#include <string_view>

#include "base/host_port.hpp"
#include "gradwire/error.hpp"

namespace gradwire::rendezvous {
namespace {

[[noreturn]] void refuse(std::string_view url, std::string_view why) {
  throw Error(ErrorCode::invalid_argument, fmt::format("the store URL '{}' {}", url, why),
              "use tcp://host:port, file:///absolute/path, unix://name or mpi://");
}

std::string encode(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~/:@").find(c) != std::string_view::npos;
    if (plain) {
      out += c;
    } else {
      out += fmt::format("%{:02x}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

std::string decode(std::string_view url, std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    unsigned value = 0;
    const std::string_view digits = text.substr(i + 1, 2);
    const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (error != std::errc{} || digits.size() != 2 || stop != digits.data() + 2) {
      refuse(url, "has a % that two hexadecimal digits don't follow");
    }
    out += static_cast<char>(value);
    i += 2;
  }
  return out;
}

std::uint16_t number(std::string_view url, std::string_view text, std::string_view what) {
  std::uint16_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || stop != text.data() + text.size() || value == 0) {
    refuse(url, fmt::format("has '{}' for {}, which is not a number from 1 to 65535", text, what));
  }
  return value;
}

void parse_query(StoreUrl& out, std::string_view url, std::string_view query) {
  while (!query.empty()) {
    const std::string_view option = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), option.size() + 1));
    const std::string_view name = option.substr(0, option.find('='));
    const std::string_view value = option.substr(std::min(option.size(), name.size() + 1));
    if (name == "job") {
      out.job = decode(url, value);
    } else if (name == "ports" && out.scheme == StoreUrl::Scheme::tcp) {
      out.ports = number(url, value, "ports");
    } else {
      refuse(url, fmt::format("has an option '{}' that is not known", name));
    }
  }
}

void parse_host_and_port(StoreUrl& out, std::string_view url, std::string_view place) {
  std::string why;
  const auto parsed = base::parse_host_port(place, why);
  if (!parsed) refuse(url, why);
  if (parsed->port == 0) refuse(url, "names no port");
  out.place = parsed->host;
  out.port = parsed->port;
}

}  // namespace

std::string StoreUrl::text() const {
  std::string out;
  switch (scheme) {
    case Scheme::tcp:
      out = place.find(':') == std::string::npos ? fmt::format("tcp://{}:{}", place, port)
                                                 : fmt::format("tcp://[{}]:{}", place, port);
      break;
    case Scheme::unix_socket: out = "unix://" + encode(place); break;
    case Scheme::file: out = "file://" + encode(place); break;
    case Scheme::mpi: out = "mpi://"; break;
  }
  char separator = '?';
  if (ports != 1) {
    out += fmt::format("{}ports={}", separator, ports);
    separator = '&';
  }
  if (!job.empty()) out += fmt::format("{}job={}", separator, encode(job));
  return out;
}

StoreUrl parse_store_url(const std::string& text) {
  StoreUrl out;
  const std::string_view url = text;
  const std::size_t scheme_end = url.find("://");
  if (scheme_end == std::string_view::npos) refuse(url, "has no scheme");
  const std::string_view scheme = url.substr(0, scheme_end);
  const std::string_view rest = url.substr(scheme_end + 3);
  const std::size_t question = rest.find('?');
  const std::string_view place = rest.substr(0, question);

  if (scheme == "tcp") {
    out.scheme = StoreUrl::Scheme::tcp;
    parse_host_and_port(out, url, place);
  } else if (scheme == "unix") {
    out.scheme = StoreUrl::Scheme::unix_socket;
    out.place = decode(url, place);
    constexpr std::size_t kLongestName = 100;
    if (out.place.empty()) refuse(url, "names no socket");
    if (out.place.size() > kLongestName) {
      refuse(url, fmt::format("has a name of more than {} bytes", kLongestName));
    }
  } else if (scheme == "file") {
    out.scheme = StoreUrl::Scheme::file;
    out.place = decode(url, place);
    if (!out.place.starts_with('/')) refuse(url, "has a path that is not absolute");
  } else if (scheme == "mpi") {
    out.scheme = StoreUrl::Scheme::mpi;
    if (!place.empty()) refuse(url, "names a place, which is for MPI to find");
  } else {
    refuse(url, fmt::format("has the unknown scheme '{}'", scheme));
  }
  if (question != std::string_view::npos) parse_query(out, url, rest.substr(question + 1));
  if (out.port + out.ports - 1 > 65535) refuse(url, "has a range of ports that ends beyond 65535");
  return out;
}

}  // namespace gradwire::rendezvous
