#pragma once

#include <array>
#include <string>
#include <utility>

#include "server/messages.hpp"

namespace gradwire::server {

// One of each message, by the names of their golden files.

inline const std::array<std::pair<std::string, Request>, 8>& sample_requests() {
  static const std::array<std::pair<std::string, Request>, 8> kRequests{{
      {"join", Join{.session = 0x1122334455667788,
                    .worker = 3,
                    .workers = 4,
                    .server = 1,
                    .servers = 2,
                    .consistency = {Consistency::Mode::ssp, 3},
                    .push_codec = "onebit:block=512",
                    .pull_codec = "bf16",
                    .settings = "batch: 64\nseed: 1\n"}},
      {"make-key", MakeKey{.request = 9,
                           .key = "layer/weights",
                           .optimizer = "momentum:lr=0.1,mu=0.9",
                           .total = 100'000,
                           .first = 50'176,
                           .count = 49'824}},
      {"make-key-longest", MakeKey{.request = 0xFFFFFFFFFFFFFFFF,
                                   .key = std::string(kMaxKeyBytes, 'k'),
                                   .optimizer = std::string(kMaxSpecBytes, 'o'),
                                   .total = kMaxElements,
                                   .first = 0,
                                   .count = kMaxElements}},
      {"push", Push{.sequence = 0x0102030405060708, .shard = 17, .clock = 42}},
      {"pull",
       Pull{.request = 10, .shard = 17, .clock = 43, .incarnation = 0xDEADBEEFCAFEF00D, .version = 41}},
      {"advance", Advance{.clock = 43}},
      {"beat", Beat{}},
      {"leave", Leave{}},
  }};
  return kRequests;
}

inline const std::array<std::pair<std::string, Answer>, 6>& sample_answers() {
  static const std::array<std::pair<std::string, Answer>, 6> kAnswers{{
      {"joined", Joined{.incarnation = 0xDEADBEEFCAFEF00D,
                        .clock = 42,
                        .sequence = 7,
                        .lease_ms = 10'000,
                        .shards = 19,
                        .origin = 0xBADC0FFEE}},
      {"key-made", KeyMade{.request = 9, .shard = 17, .version = 5, .count = 49'824}},
      {"accepted", Accepted{.sequence = 0x0102030405060708}},
      {"pulled-sealed", Pulled{.request = 10, .version = 43, .clock = 40, .sealed = 2, .whole = false}},
      {"pulled-whole", Pulled{.request = 11, .version = 43, .clock = 40, .sealed = 0, .whole = true}},
      {"refused", Refused{.verb = Verb::push,
                          .request = 12,
                          .code = ErrorCode::peer_lost,
                          .happened = "the lease of worker 3 is over",
                          .advice = "join again"}},
  }};
  return kAnswers;
}

}  // namespace gradwire::server
