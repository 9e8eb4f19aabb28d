#pragma once

#include <string>

namespace gradwire::base {

/// A product's library, loaded at run time, so that a program which does not use it runs where there is none.
/// Never closed: the products have threads and exit handlers of their own.
class SharedLibrary {
 public:
  /// `advice`: what to do without it. Throws Error(unsupported) where the file cannot be loaded.
  SharedLibrary(const char* file, std::string product, std::string advice);

  /// Sets `function`. Throws Error(unsupported) where the library lacks it.
  template <typename Function>
  void find(const char* name, Function& function) const {
    function = reinterpret_cast<Function>(symbol(name));
    if (function == nullptr) throw_lack(name);
  }
  /// Null where the library lacks it.
  template <typename Function>
  [[nodiscard]] Function look_up(const char* name) const noexcept {
    return reinterpret_cast<Function>(symbol(name));
  }

 private:
  [[nodiscard]] void* symbol(const char* name) const noexcept;
  [[noreturn]] void throw_lack(const char* name) const;

  std::string product_;
  std::string advice_;
  void* handle_;
};

}  // namespace gradwire::base
