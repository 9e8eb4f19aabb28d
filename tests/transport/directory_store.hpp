#pragma once

#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "gradwire/store.hpp"
#include "tests/support/temporary_folder.hpp"

namespace gradwire::transport {

/// A store for threads and processes of a test: one file per key in a fresh directory. It knows nothing of
/// the real stores, so that a transport's test fails by the transport's fault only.
class DirectoryStore : public Store {
 public:
  DirectoryStore() : own_(std::in_place), path_(own_->path()) {}
  /// In a folder that others use, too.
  explicit DirectoryStore(std::filesystem::path shared) : path_(std::move(shared)) {}

  void set(const std::string& key, const std::string& value) override {
    const auto path = path_of(key);
    const auto draft = path.string() + "." + std::to_string(::getpid()) + "." + std::to_string(drafts_++);
    std::ofstream(draft, std::ios::binary) << value;
    std::filesystem::rename(draft, path);
  }

  std::optional<std::string> get(const std::string& key, std::chrono::milliseconds timeout) override {
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    while (true) {
      std::ifstream file(path_of(key), std::ios::binary);
      if (file) return std::string(std::istreambuf_iterator<char>(file), {});
      if (std::chrono::steady_clock::now() >= deadline) return std::nullopt;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  void clear() {
    for (const auto& entry : std::filesystem::directory_iterator(path_))
      std::filesystem::remove(entry.path());
  }

 private:
  [[nodiscard]] std::filesystem::path path_of(const std::string& key) const {
    std::string name;
    for (const char c : key) name += c == '/' ? '@' : c;
    return path_ / name;
  }

  std::optional<TemporaryFolder> own_;
  std::filesystem::path path_;
  std::atomic<int> drafts_{0};
};

}  // namespace gradwire::transport
