#pragma once

#include <functional>
#include <string_view>
#include <thread>

namespace gradwire::base {

/// A thread of the library's own, which takes none of the program's signals. `name` is what messages call it
/// ("a progress thread"). Throws Error(system) when there cannot be another thread.
[[nodiscard]] std::thread start_background_thread(std::string_view name, std::function<void()> body);

}  // namespace gradwire::base
