#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "compress/codec.hpp"
#include "gradwire/parameter_server.hpp"
#include "server/incoming_messages.hpp"
#include "server/outgoing_messages.hpp"
#include "server/payload.hpp"
#include "transport/service.hpp"

namespace gradwire::server {

/// A server that does what a test says, message by message, to one client at a time. What it waits for has to
/// come within 20 s.
class ScriptedServer {
 public:
  ScriptedServer()
      : service_(transport::open_service({.address = "127.0.0.1", .job = "servers", .kind = "tcp"})) {}

  [[nodiscard]] ParameterServerClientOptions client() const {
    ParameterServerClientOptions options;
    options.servers = {service_->address()};
    options.job = "servers";
    options.transport = "tcp";
    options.timeout = std::chrono::seconds(20);
    return options;
  }

  /// Works on the connections until `is_over`.
  void wait_until(const std::function<bool()>& is_over) {
    const auto deadline = transport::Clock::now() + std::chrono::seconds(20);
    while (true) {
      service_->progress();
      if (caller_ && out_) out_->pump(link());
      if (is_over()) return;
      const auto now = transport::Clock::now();
      if (now > deadline) throw std::runtime_error("what the script waits for does not come");
      service_->wait(now + std::chrono::milliseconds(5));
    }
  }

  void await_caller() {
    wait_until([this] {
      for (const auto id : service_->arrivals()) caller_ = id;
      return caller_.has_value();
    });
    in_.emplace(Side::worker, "the client");
    out_.emplace(Side::server);
  }

  /// The client's next request of that kind. Others before it go unanswered.
  template <typename T>
  T take() {
    std::optional<Request> request;
    do {
      wait_until([&] { return (request = in_->take_request(link())).has_value(); });
      if (const auto* make = std::get_if<MakeKey>(&*request)) skip({plain_.get(), 0, make->count, 1});
    } while (!std::holds_alternative<T>(*request));
    return std::get<T>(*request);
  }

  /// The body of the request that was taken last; those of keys are skipped as they are.
  void skip(const Body& body) {
    in_->expect(body);
    wait_until([this] {
      while (!in_->is_whole() && in_->front(link())) in_->pop(link());
      return in_->is_whole();
    });
  }

  /// All of an answer, and its body where it has one.
  void answer(const Answer& head, const Body& body = {}, Payload payload = {}) {
    const auto owner = std::make_shared<const Payload>(std::move(payload));
    out_->add({write_answer(head), body, {*owner}, owner});
    wait_until([this] { return out_->size() == 0; });
  }
  /// An answer that ends after the first frame of its body: then hang_up() follows.
  void begin_answer(const Answer& head, const Body& body, Payload payload) {
    payload_ = std::move(payload);
    const Head bytes = write_answer(head);
    const BodyFrames frames(body, bytes.number, Side::server);
    const auto first = std::span(payload_).first(frames.bytes());
    wait_until([&] { return link().try_send(head_header(bytes.number, Side::server), bytes.bytes); });
    wait_until([&] { return link().try_send(frames.header(), first); });
    out_.reset();
  }

  void hang_up() {
    service_->drop(*std::exchange(caller_, std::nullopt), std::nullopt);
    out_.reset();
  }
  /// The client does. What it sent before goes unanswered, and may not have arrived.
  void await_departure() {
    wait_until([this] {
      if (!service_->departures().empty()) return true;
      try {
        (void)in_->take_request(link());
      } catch (const Error&) {
        return false;  // the end of the connection, which is told of next
      }
      return false;
    });
    caller_.reset();
    out_.reset();
  }

  [[nodiscard]] const compress::Codec& plain() const noexcept { return *plain_; }

 private:
  transport::Link& link() { return service_->link(*caller_); }

  const std::shared_ptr<const compress::Codec> plain_ = compress::make_codec("none");
  Payload payload_;
  std::optional<IncomingMessages> in_;
  std::optional<OutgoingMessages> out_;
  std::unique_ptr<transport::Service> service_;
  std::optional<transport::CallerId> caller_;
};

}  // namespace gradwire::server
