#include "wire/hello.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gradwire/error.hpp"

namespace gradwire::wire {
namespace {

constexpr const char* kFrom = "10.0.0.7:4711";

Hello sample() {
  Hello hello;
  hello.job = "mnist";
  hello.communicator = 5;
  hello.world_size = 4;
  hello.rank = 3;
  hello.peer = 1;
  hello.connection = 1;
  hello.connections = 2;
  hello.token = 0x0123456789ABCDEF;
  return hello;
}

/// What rank 1 expects to hear from anybody.
Hello expected() {
  Hello hello = sample();
  hello.rank = 1;
  hello.peer = 1;
  hello.connection = 0;
  return hello;
}

template <typename Action>
ErrorCode code_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << "no error";
  return ErrorCode::system;
}

TEST(Hello, RoundTrip) {
  for (const std::size_t length : {std::size_t{0}, std::size_t{1}, std::size_t{40}, base::kMaxJobBytes}) {
    Hello hello = sample();
    hello.job = std::string(length, 'x');
    const HelloBytes bytes = write_hello(hello);
    EXPECT_EQ(hello_size(bytes.view(), kFrom), bytes.size);
    EXPECT_EQ(read_hello(bytes.view(), kFrom), hello);
  }
}

TEST(Hello, LongJobNamesAreRefused) {
  Hello hello = sample();
  hello.job = std::string(base::kMaxJobBytes + 1, 'x');
  EXPECT_EQ(code_of([&] { (void)write_hello(hello); }), ErrorCode::invalid_argument);
}

TEST(Hello, AnyChangedByteIsAnError) {
  const HelloBytes bytes = write_hello(sample());
  for (std::size_t at = 0; at < bytes.size; ++at) {
    for (unsigned change = 1; change < 256; ++change) {
      HelloBytes damaged = bytes;
      damaged.buffer[at] ^= static_cast<std::byte>(change);
      const ErrorCode code = code_of([&] { (void)read_hello(damaged.view(), kFrom); });
      EXPECT_EQ(code, at == 4 ? ErrorCode::version_mismatch : ErrorCode::corrupt_frame)
          << at << ' ' << change;
    }
  }
}

TEST(Hello, AnyTruncationIsAnError) {
  const HelloBytes bytes = write_hello(sample());
  for (std::size_t size = 0; size < bytes.size; ++size) {
    EXPECT_EQ(code_of([&] { (void)read_hello(bytes.view().first(size), kFrom); }), ErrorCode::corrupt_frame);
    if (size < 8) {
      EXPECT_EQ(hello_size(bytes.view().first(size), kFrom), std::nullopt);
    } else {
      EXPECT_EQ(hello_size(bytes.view().first(size), kFrom), bytes.size);
    }
  }
}

TEST(Hello, SizeIsToldOnlyForHellos) {
  HelloBytes bytes = write_hello(sample());
  bytes.buffer[0] = std::byte{'X'};
  EXPECT_EQ(code_of([&] { (void)hello_size(bytes.view(), kFrom); }), ErrorCode::corrupt_frame);
  bytes = write_hello(sample());
  bytes.buffer[7] = std::byte{1};
  EXPECT_EQ(code_of([&] { (void)hello_size(bytes.view(), kFrom); }), ErrorCode::corrupt_frame);
}

TEST(Hello, WhoBelongsIsLetIn) {
  EXPECT_NO_THROW(check_hello(sample(), expected(), kFrom));
  Hello certain = expected();
  certain.peer = 3;
  EXPECT_NO_THROW(check_hello(sample(), certain, kFrom));
}

TEST(Hello, WhoDoesNotBelongIsRefused) {
  const auto refusal = [](auto change) {
    Hello received = sample();
    change(received);
    return code_of([&] { check_hello(received, expected(), kFrom); });
  };
  EXPECT_EQ(refusal([](Hello& h) { h.job = "cifar"; }), ErrorCode::version_mismatch);
  EXPECT_EQ(refusal([](Hello& h) { h.communicator = 6; }), ErrorCode::version_mismatch);
  EXPECT_EQ(refusal([](Hello& h) { h.token = 1; }), ErrorCode::version_mismatch);
  EXPECT_EQ(refusal([](Hello& h) { h.layout = 1; }), ErrorCode::version_mismatch);
  EXPECT_EQ(refusal([](Hello& h) { h.world_size = 5; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refusal([](Hello& h) { h.connections = 1; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refusal([](Hello& h) { h.rank = 4; }), ErrorCode::corrupt_frame);
  EXPECT_EQ(refusal([](Hello& h) { h.rank = 1; }), ErrorCode::corrupt_frame);
  EXPECT_EQ(refusal([](Hello& h) { h.peer = 2; }), ErrorCode::corrupt_frame);
  EXPECT_EQ(refusal([](Hello& h) { h.connection = 2; }), ErrorCode::corrupt_frame);
}

TEST(Hello, WhatTellsAnotherJobOrRunIsFoundBeforeRanks) {
  const auto reason = [](auto change) {
    Hello answer = sample();
    answer.rank = 77;
    answer.peer = kNoRank;
    change(answer);
    try {
      check_hello(answer, expected(), kFrom);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("none");
  };
  EXPECT_THAT(reason([](Hello& h) { h.job = "cifar"; }), testing::HasSubstr("'cifar'"));
  EXPECT_THAT(reason([](Hello& h) { h.token = 1; }), testing::HasSubstr("another run"));
  EXPECT_THAT(reason([](Hello& h) { h.layout = 1; }), testing::HasSubstr("shared memory"));
  EXPECT_THAT(reason([](Hello& h) { h.connections = 9; }), testing::HasSubstr("9 connections"));
  EXPECT_THAT(reason([](Hello&) {}), testing::HasSubstr("turned this rank away"));
}

TEST(Hello, AnotherRankThanTheExpectedOneIsRefused) {
  Hello certain = expected();
  certain.peer = 2;
  EXPECT_EQ(code_of([&] { check_hello(sample(), certain, kFrom); }), ErrorCode::corrupt_frame);
}

TEST(Hello, ErrorsSayWhoAndWhat) {
  Hello received = sample();
  received.job = "cifar";
  try {
    check_hello(received, expected(), kFrom);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr(kFrom), testing::HasSubstr("'cifar'"),
                                             testing::HasSubstr("'mnist'")));
  }
}

}  // namespace
}  // namespace gradwire::wire
