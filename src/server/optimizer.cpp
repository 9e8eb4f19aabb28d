#include "server/optimizer.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

#include "gradwire/error.hpp"

namespace gradwire::server {
namespace {

/// An option, its default, and the range it has to lie in.
struct Option {
  std::string_view name;
  float value;
  float least;
  float most;
};

constexpr float kLargest = 1e30F;
constexpr float kBelowOne = 0.99999994F;

class Sgd final : public Optimizer {
 public:
  static constexpr std::array kOptions{Option{"lr", 0.1F, 0, kLargest}};

  explicit Sgd(const Setup& setup) : Optimizer(setup, 0), rate_(setup.options[0]) {}

  void step(std::size_t /*first*/, std::span<float> value, std::span<const float> sum,
            const Share& share) override {
    float* const __restrict x = value.data();
    const float* const __restrict g = sum.data();
    const float factor = rate_ * share.factor;
    for (std::size_t i = 0; i < value.size(); ++i) x[i] -= factor * g[i];
  }

 private:
  float rate_;
};

class Momentum final : public Optimizer {
 public:
  static constexpr std::array kOptions{Option{"lr", 0.1F, 0, kLargest}, Option{"mu", 0.9F, 0, kBelowOne}};

  explicit Momentum(const Setup& setup)
      : Optimizer(setup, 1), rate_(setup.options[0]), decay_(setup.options[1]) {}

  void step(std::size_t first, std::span<float> value, std::span<const float> sum,
            const Share& share) override {
    float* const __restrict x = value.data();
    const float* const __restrict g = sum.data();
    float* const __restrict v = memory_[0].data() + first;
    const float factor = share.factor;
    const float rate = rate_;
    const float decay = decay_;
    for (std::size_t i = 0; i < value.size(); ++i) {
      const float velocity = decay * v[i] + factor * g[i];
      v[i] = velocity;
      x[i] -= rate * velocity;
    }
  }

 private:
  float rate_;
  float decay_;
};

class Adagrad final : public Optimizer {
 public:
  static constexpr std::array kOptions{Option{"lr", 0.01F, 0, kLargest}, Option{"eps", 1e-10F, 0, kLargest}};

  explicit Adagrad(const Setup& setup)
      : Optimizer(setup, 1), rate_(setup.options[0]), epsilon_(setup.options[1]) {}

  void step(std::size_t first, std::span<float> value, std::span<const float> sum,
            const Share& share) override {
    float* const __restrict x = value.data();
    const float* const __restrict g = sum.data();
    float* const __restrict h = memory_[0].data() + first;
    const float factor = share.factor;
    const float rate = rate_;
    const float epsilon = epsilon_;
    for (std::size_t i = 0; i < value.size(); ++i) {
      const float gradient = factor * g[i];
      const float power = h[i] + gradient * gradient;
      h[i] = power;
      x[i] -= rate * gradient / (std::sqrt(power) + epsilon);
    }
  }

 private:
  float rate_;
  float epsilon_;
};

class Adam final : public Optimizer {
 public:
  static constexpr std::array kOptions{Option{"lr", 0.001F, 0, kLargest}, Option{"beta1", 0.9F, 0, kBelowOne},
                                       Option{"beta2", 0.999F, 0, kBelowOne},
                                       Option{"eps", 1e-8F, 0, kLargest}};

  explicit Adam(const Setup& setup)
      : Optimizer(setup, 2),
        rate_(setup.options[0]),
        beta1_(setup.options[1]),
        beta2_(setup.options[2]),
        epsilon_(setup.options[3]) {}

  void begin_step() override { set_steps(steps_ + 1); }

  void step(std::size_t first, std::span<float> value, std::span<const float> sum,
            const Share& share) override {
    float* const __restrict x = value.data();
    const float* const __restrict g = sum.data();
    float* const __restrict m = memory_[0].data() + first;
    float* const __restrict v = memory_[1].data() + first;
    const float factor = share.factor;
    const float beta1 = beta1_;
    const float beta2 = beta2_;
    const float epsilon = epsilon_;
    const float rate = rate_ * correction1_;
    const float correction2 = correction2_;
    for (std::size_t i = 0; i < value.size(); ++i) {
      const float gradient = factor * g[i];
      const float mean = beta1 * m[i] + (1.0F - beta1) * gradient;
      const float power = beta2 * v[i] + (1.0F - beta2) * (gradient * gradient);
      m[i] = mean;
      v[i] = power;
      x[i] -= rate * mean / (std::sqrt(power * correction2) + epsilon);
    }
  }

  [[nodiscard]] std::uint64_t steps() const noexcept override { return steps_; }
  void set_steps(std::uint64_t steps) override {
    steps_ = steps;
    correction1_ = 1.0F / one_less_power(beta1_);
    correction2_ = 1.0F / one_less_power(beta2_);
  }

 private:
  /// 1 - beta^steps by repeated squaring, which unlike pow() gives the same bits with every library.
  [[nodiscard]] float one_less_power(float beta) const noexcept {
    double power = 1;
    double square = beta;
    for (std::uint64_t rest = steps_; rest != 0; rest >>= 1U, square *= square) {
      if ((rest & 1U) != 0) power *= square;
    }
    return static_cast<float>(1.0 - power);
  }

  float rate_;
  float beta1_;
  float beta2_;
  float epsilon_;
  std::uint64_t steps_ = 0;
  float correction1_ = 1;
  float correction2_ = 1;
};

class Average final : public Optimizer {
 public:
  static constexpr std::array<Option, 0> kOptions{};

  explicit Average(const Setup& setup) : Optimizer(setup, 0) {}

  void step(std::size_t /*first*/, std::span<float> value, std::span<const float> sum,
            const Share& share) override {
    float* const __restrict x = value.data();
    const float* const __restrict g = sum.data();
    const float factor = share.factor;
    const float keep = 1.0F - share.weight;
    for (std::size_t i = 0; i < value.size(); ++i) x[i] = keep * x[i] + factor * g[i];
  }
};

class Elastic final : public Optimizer {
 public:
  static constexpr std::array kOptions{Option{"alpha", 0.1F, 0, 1}};

  explicit Elastic(const Setup& setup) : Optimizer(setup, 0), alpha_(setup.options[0]) {}

  void step(std::size_t /*first*/, std::span<float> value, std::span<const float> sum,
            const Share& /*share*/) override {
    float* const __restrict x = value.data();
    const float* const __restrict g = sum.data();
    const float alpha = alpha_;
    for (std::size_t i = 0; i < value.size(); ++i) x[i] += alpha * g[i];
  }

 private:
  float alpha_;
};

template <typename T>
std::unique_ptr<Optimizer> make(const Optimizer::Setup& setup) {
  return std::make_unique<T>(setup);
}

/// Adding an optimizer adds a row.
struct Entry {
  std::string_view name;
  std::span<const Option> options;
  std::unique_ptr<Optimizer> (*make)(const Optimizer::Setup& setup);
};

constexpr std::array kEntries{
    Entry{"sgd", Sgd::kOptions, make<Sgd>},
    Entry{"momentum", Momentum::kOptions, make<Momentum>},
    Entry{"adagrad", Adagrad::kOptions, make<Adagrad>},
    Entry{"adam", Adam::kOptions, make<Adam>},
    Entry{"average", Average::kOptions, make<Average>},
    Entry{"elastic", Elastic::kOptions, make<Elastic>},
};

std::vector<float> defaults(const Entry& entry) {
  std::vector<float> values;
  for (const Option& option : entry.options) values.push_back(option.value);
  return values;
}

/// "adagrad:lr=0.01,eps=1e-10".
std::string spell(const Entry& entry, std::span<const float> values) {
  std::string text(entry.name);
  for (std::size_t i = 0; i < values.size(); ++i) {
    text += fmt::format("{}{}={}", i == 0 ? ':' : ',', entry.options[i].name, values[i]);
  }
  return text;
}

std::string usage(const Entry& entry) { return spell(entry, defaults(entry)); }

[[noreturn]] void reject(std::string_view spec, std::string_view happened, std::string_view allowed) {
  throw Error(ErrorCode::invalid_argument, fmt::format("optimizer '{}': {}", spec, happened),
              fmt::format("allowed, here with the defaults: {}", allowed));
}

/// Which of the entry's options "name=value" sets, and to what.
std::pair<std::size_t, float> parse_option(std::string_view spec, const Entry& entry, std::string_view text) {
  const std::size_t equals = text.find('=');
  const std::string_view name = text.substr(0, equals);
  for (std::size_t i = 0; i < entry.options.size(); ++i) {
    const Option& option = entry.options[i];
    if (option.name != name || equals == std::string_view::npos) continue;
    const std::string_view number = text.substr(equals + 1);
    const char* end = number.data() + number.size();
    float value = 0;
    const auto [stop, error] = std::from_chars(number.data(), end, value);
    if (error != std::errc{} || stop != end || !(value >= option.least && value <= option.most)) {
      reject(spec, fmt::format("'{}' is not possible", text),
             fmt::format("{}; {} from {} to {}", usage(entry), name, option.least, option.most));
    }
    return {i, value};
  }
  reject(spec, fmt::format("'{}' is no option of it", text), usage(entry));
}

}  // namespace

std::unique_ptr<Optimizer> make_optimizer(std::string_view spec, std::size_t count) {
  const std::size_t colon = spec.find(':');
  const std::string_view name = spec.substr(0, colon);
  std::string names;
  for (const Entry& entry : kEntries) {
    if (!names.empty()) names += "; ";
    names += usage(entry);
    if (entry.name != name) continue;
    std::vector<float> options = defaults(entry);
    std::vector<bool> given(options.size());
    std::string_view rest = colon == std::string_view::npos ? std::string_view{} : spec.substr(colon + 1);
    for (bool more = colon != std::string_view::npos; more;) {
      const std::size_t comma = rest.find(',');
      const auto [index, value] = parse_option(spec, entry, rest.substr(0, comma));
      if (given[index])
        reject(spec, fmt::format("{} is given twice", entry.options[index].name), usage(entry));
      given[index] = true;
      options[index] = value;
      more = comma != std::string_view::npos;
      if (more) rest.remove_prefix(comma + 1);
    }
    return entry.make({.spec = spell(entry, options), .options = options, .count = count});
  }
  reject(spec, fmt::format("there is none named '{}'", name), names);
}

}  // namespace gradwire::server
