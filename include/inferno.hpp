/*
 * Inferno for C++17 and later: RAII over inferno.h, header-only.
 *
 *   auto model = inferno::model::load_default();
 *   if (!model) return complain(model.error().text());
 *   auto session = inferno::session::create(
 *       *model, inferno::session_options().with_symbol("batch", 1));
 *   ...
 *   auto image = session->input<float>(0);      // a writable view, ours, aligned
 *   std::copy(pixels, pixels + 64, image->begin());
 *   inferno::status ran = session->run();
 *   auto scores = session->output<float>(0);    // valid until the next run
 *
 * Terms
 *   returns<T>  what a function that can fail gives: result<T>, a value or a status, or
 *               plain status where there is no value. Neither throws. After
 *               `#define INFERNO_EXCEPTIONS 1` it is T itself, and a failure throws
 *               inferno::exception. The two ways may meet in one program: each lives in an
 *               inline namespace of its own.
 *   view<T>     memory that somebody else owns: std::span<T>, or in C++17 a class with its
 *               most used members.
 *
 * model, session, queue, job and runtime own what they name, move and do not copy; a moved-from or
 * default-made one is empty, and its calls are answered INFERNO_STATUS_INVALID_HANDLE.
 * What each call does, its threads and its errors stand at the C function it names in
 * inferno.h. Options, error texts and save_state allocate with operator new; runs and views
 * do not.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef INFERNO_HPP
#define INFERNO_HPP

#include "inferno.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#if defined(__has_include)
#if __has_include(<version>)
#include <version>
#endif
#endif
#if defined(__cpp_lib_span)
#include <span>
#endif

#ifndef INFERNO_EXCEPTIONS
#define INFERNO_EXCEPTIONS 0
#endif
#if INFERNO_EXCEPTIONS
#include <stdexcept>
#define INFERNO_WAY throwing
#else
#define INFERNO_WAY returning
#endif

namespace inferno {
inline namespace INFERNO_WAY {

/** What a call came to: a code, and when that is no success the library's text. */
class [[nodiscard]] status {
 public:
  status() = default;
  status(inferno_status code, std::string text) : code_(code), text_(std::move(text)) {}

  bool ok() const noexcept { return code_ == INFERNO_STATUS_OK; }
  explicit operator bool() const noexcept { return ok(); }
  inferno_status code() const noexcept { return code_; }
  /** The code's name, such as "NOT_FOUND". */
  const char* name() const noexcept { return inferno_status_name(code_); }
  /** What was wrong, what was expected, and where; empty for a success. */
  const std::string& text() const noexcept { return text_; }

 private:
  inferno_status code_ = INFERNO_STATUS_OK;
  std::string text_;
};

/** A value, or the status that says why there is none. */
template <class T>
class [[nodiscard]] result {
 public:
  result(T&& value) : held_(std::in_place_index<0>, std::move(value)) {}
  result(status&& why) : held_(std::in_place_index<1>, std::move(why)) {}

  bool ok() const noexcept { return held_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }

  /** The value. Only when ok(). */
  T& operator*() & noexcept { return *operator->(); }
  const T& operator*() const& noexcept { return *operator->(); }
  T&& operator*() && noexcept { return std::move(*operator->()); }
  T* operator->() noexcept {
    assert(ok());
    return std::get_if<0>(&held_);
  }
  const T* operator->() const noexcept {
    assert(ok());
    return std::get_if<0>(&held_);
  }

  /** Why there is no value. Only when not ok(). */
  const status& error() const noexcept {
    assert(!ok());
    return *std::get_if<1>(&held_);
  }

 private:
  std::variant<T, status> held_;
};

#if INFERNO_EXCEPTIONS
/** A failed call. what() is the library's text. */
class exception : public std::runtime_error {
 public:
  explicit exception(const status& why) : std::runtime_error(why.text()), code_(why.code()) {}
  inferno_status code() const noexcept { return code_; }

 private:
  inferno_status code_;
};

template <class T>
using returns = T;
#else
template <class T>
using returns = std::conditional_t<std::is_void_v<T>, status, result<T>>;
#endif

#if defined(__cpp_lib_span)
template <class T>
using view = std::span<T>;
#else
/** Memory that somebody else owns. */
template <class T>
class view {
 public:
  constexpr view() = default;
  constexpr view(T* data, std::size_t size) : data_(data), size_(size) {}
  /** A view of T is one of const T, too. */
  template <class U, class = std::enable_if_t<std::is_same_v<const U, T>>>
  constexpr view(view<U> other) : data_(other.data()), size_(other.size()) {}

  constexpr T* data() const noexcept { return data_; }
  constexpr std::size_t size() const noexcept { return size_; }
  constexpr std::size_t size_bytes() const noexcept { return size_ * sizeof(T); }
  constexpr bool empty() const noexcept { return size_ == 0; }
  constexpr T* begin() const noexcept { return data_; }
  constexpr T* end() const noexcept { return data_ + size_; }
  constexpr T& operator[](std::size_t index) const noexcept { return data_[index]; }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};
#endif

/** A 16-bit IEEE float, which C++17 has no type for: its bits. */
struct half {
  std::uint16_t bits;
};

namespace detail {

inline status last_status(inferno_status code) { return status(code, inferno_last_error()); }

template <class T>
returns<T> fail(status why) {
#if INFERNO_EXCEPTIONS
  throw exception(why);
#else
  return why;
#endif
}

/** A C call that has no value to give. */
inline returns<void> done(inferno_status code) {
  if (code != INFERNO_STATUS_OK) return fail<void>(last_status(code));
  return returns<void>();
}

/** A C call that wrote `value`. */
template <class T>
returns<T> give(inferno_status code, T value) {
  if (code != INFERNO_STATUS_OK) return fail<T>(last_status(code));
  return value;
}

template <class T>
constexpr inferno_dtype integer_dtype() {
  constexpr bool is_signed = std::is_signed_v<T>;
  switch (sizeof(T)) {
    case 1: return is_signed ? INFERNO_DTYPE_I8 : INFERNO_DTYPE_U8;
    case 2: return is_signed ? INFERNO_DTYPE_I16 : INFERNO_DTYPE_U16;
    case 4: return is_signed ? INFERNO_DTYPE_I32 : INFERNO_DTYPE_U32;
    case 8: return is_signed ? INFERNO_DTYPE_I64 : INFERNO_DTYPE_U64;
    default: return INFERNO_DTYPE_UNDEFINED;
  }
}

template <class T>
constexpr inferno_dtype dtype() {
  static_assert(sizeof(bool) == 1, "a bool tensor has one byte an element");
  if constexpr (std::is_same_v<T, float>) return INFERNO_DTYPE_F32;
  else if constexpr (std::is_same_v<T, double>) return INFERNO_DTYPE_F64;
  else if constexpr (std::is_same_v<T, half>) return INFERNO_DTYPE_F16;
  else if constexpr (std::is_same_v<T, bool>) return INFERNO_DTYPE_BOOL;
  else if constexpr (std::is_same_v<T, const char*>) return INFERNO_DTYPE_STRING;
  else if constexpr (std::is_integral_v<T>) return integer_dtype<T>();
  else return INFERNO_DTYPE_UNDEFINED;
}

/** Ends a handle with its C function. */
template <auto Free>
struct deleter {
  template <class Handle>
  void operator()(Handle* handle) const noexcept {
    static_cast<void>(Free(handle));
  }
};

/** Owns a C handle. */
template <class Handle, auto Free>
class owner {
 public:
  owner() = default;
  /** Takes over a handle made in C. */
  explicit owner(Handle* handle) noexcept : handle_(handle) {}

  explicit operator bool() const noexcept { return handle_ != nullptr; }
  /** The handle, still owned here. */
  Handle* get() const noexcept { return handle_.get(); }
  /** The handle, no longer owned here. */
  Handle* release() noexcept { return handle_.release(); }

 private:
  std::unique_ptr<Handle, deleter<Free>> handle_;
};

}  // namespace detail

namespace detail {

/** A C struct with its defaults. */
template <class Struct>
Struct initial(inferno_status (*init)(Struct*, std::size_t)) {
  Struct made{};
  static_cast<void>(init(&made, sizeof made));
  return made;
}

/** Views whose sizes do not fit each other. */
inline status unlike(const char* expected) {
  return status(INFERNO_STATUS_SIZE_MISMATCH,
                std::string("the views' sizes do not fit: expected ") + expected);
}

}  // namespace detail

/** The dtype of a tensor whose elements are T. */
template <class T>
inline constexpr inferno_dtype dtype_of = detail::dtype<std::remove_cv_t<T>>();

/** Dims. More than INFERNO_MAX_RANK of them are refused by the call they are given to. */
class shape {
 public:
  shape() = default;
  shape(std::initializer_list<std::int64_t> dims) : shape(dims.begin(), dims.size()) {}
  shape(const std::int64_t* dims, std::size_t rank)
      : rank_(static_cast<std::int32_t>(std::min<std::size_t>(rank, INFERNO_MAX_RANK + 1))) {
    std::copy_n(dims, std::min<std::size_t>(rank, INFERNO_MAX_RANK), dims_.begin());
  }
  /** The shape of a tensor that Inferno gave. */
  explicit shape(const inferno_tensor& tensor)
      : shape(tensor.dims, static_cast<std::size_t>(tensor.rank)) {}

  std::int32_t rank() const noexcept { return rank_; }
  const std::int64_t* data() const noexcept { return dims_.data(); }
  const std::int64_t* begin() const noexcept { return data(); }
  const std::int64_t* end() const noexcept {
    return data() + std::min<std::int32_t>(rank_, INFERNO_MAX_RANK);
  }
  std::int64_t operator[](std::size_t axis) const noexcept { return dims_[axis]; }

 private:
  std::int32_t rank_ = 0;
  std::array<std::int64_t, INFERNO_MAX_RANK> dims_{};
};

namespace detail {

/** A C tensor over memory of the caller's. Dims that no memory could hold give a size that
 *  the library refuses. */
inline inferno_tensor tensor(inferno_dtype type, const void* data, const shape& dims) {
  inferno_tensor made{};
  made.dtype = type;
  made.rank = dims.rank();
  std::copy(dims.begin(), dims.end(), made.dims);
  std::size_t size = inferno_dtype_size(type);
  for (std::int64_t dim : dims) {
    const std::size_t count = dim < 0 ? SIZE_MAX : static_cast<std::size_t>(dim);
    size = count != 0 && size > SIZE_MAX / count ? SIZE_MAX : size * count;
  }
  made.size_bytes = size;
  // The C struct serves both ways; the functions that call this know which.
  made.data = const_cast<void*>(data);
  return made;
}

/** A view of what a C call wrote into `tensor`, when its elements are T. */
template <class T>
returns<view<T>> typed(inferno_status code, const inferno_tensor& tensor) {
  static_assert(dtype_of<T> != INFERNO_DTYPE_UNDEFINED, "no tensor has such elements");
  if (code != INFERNO_STATUS_OK) return fail<view<T>>(last_status(code));
  if (tensor.dtype != dtype_of<T>) {
    return fail<view<T>>(status(
        INFERNO_STATUS_DTYPE_MISMATCH,
        std::string("the tensor is ") + inferno_dtype_name(tensor.dtype) + ", the view asked for " +
            inferno_dtype_name(dtype_of<T>)));
  }
  return view<T>(static_cast<T*>(tensor.data), tensor.size_bytes / sizeof(T));
}

}  // namespace detail

/** What may be held, in bytes. */
struct budget {
  /** Past this a warning is logged. */
  std::uint64_t soft_bytes = INFERNO_NO_BUDGET;
  /** What goes past this is refused: INFERNO_STATUS_OUT_OF_BUDGET. */
  std::uint64_t hard_bytes = INFERNO_NO_BUDGET;
};

/** Options of the runtime: inferno_runtime_options. */
class runtime_options {
 public:
  /** Sends log lines of `level` and below to `callback`. */
  runtime_options& with_log(inferno_log_callback callback, void* user_data,
                            inferno_log_level level = INFERNO_LOG_LEVEL_WARN) {
    callback_ = callback;
    user_data_ = user_data;
    level_ = level;
    return *this;
  }

  /** The helper program of isolated loads, when it is not beside the library. */
  runtime_options& with_helper_path(std::string path) {
    helper_path_ = std::move(path);
    return *this;
  }

  /** What the library may hold: inferno_memory_set_budget. */
  runtime_options& with_budget(budget bounds) {
    budget_ = bounds;
    return *this;
  }

  /** How long the pool keeps what nothing uses. */
  runtime_options& with_memory_decay(std::chrono::milliseconds decay) {
    decay_ms_ = decay.count() < 0 ? UINT64_MAX : static_cast<std::uint64_t>(decay.count());
    return *this;
  }

  /** Inferno's own kernels use no instructions beyond these. */
  runtime_options& with_isa(inferno_isa isa) {
    isa_ = isa;
    return *this;
  }

  /** The host's own job system, in place of helper threads; copied by the start. */
  runtime_options& with_jobs(const inferno_host_jobs& jobs) {
    jobs_ = jobs;
    return *this;
  }

  /** The C struct, which points into this one. */
  inferno_runtime_options c_options() const {
    inferno_runtime_options made{};
    static_cast<void>(inferno_runtime_options_init(&made, sizeof made));
    made.log_callback = callback_;
    made.log_user_data = user_data_;
    made.log_level = level_;
    if (!helper_path_.empty()) made.helper_path = helper_path_.c_str();
    made.soft_budget_bytes = budget_.soft_bytes;
    made.hard_budget_bytes = budget_.hard_bytes;
    if (decay_ms_) made.memory_decay_ms = *decay_ms_;
    made.isa = isa_;
    if (jobs_) made.jobs = &*jobs_;
    return made;
  }

 private:
  inferno_log_callback callback_ = nullptr;
  void* user_data_ = nullptr;
  inferno_log_level level_ = INFERNO_LOG_LEVEL_WARN;
  std::string helper_path_;
  budget budget_;
  std::optional<std::uint64_t> decay_ms_;
  inferno_isa isa_ = INFERNO_ISA_BEST;
  std::optional<inferno_host_jobs> jobs_;
};

/** Memory of the library as a whole. */
struct memory {
  /** inferno_memory_get_stats */
  static returns<inferno_memory_stats> stats() {
    inferno_memory_stats stats{};
    stats.struct_size = sizeof stats;
    const inferno_status code = inferno_memory_get_stats(&stats);
    return detail::give(code, stats);
  }
  /** inferno_memory_set_budget */
  static returns<void> set_budget(budget bounds) {
    return detail::done(inferno_memory_set_budget(bounds.soft_bytes, bounds.hard_bytes));
  }
  /** inferno_memory_reserve */
  static returns<void> reserve(std::size_t size_bytes, std::size_t block_bytes) {
    return detail::done(inferno_memory_reserve(size_bytes, block_bytes));
  }
  /** inferno_memory_trim */
  static returns<void> trim() { return detail::done(inferno_memory_trim()); }
};

namespace detail {

/** A text that a C function copies: its size first, which may grow meanwhile. */
template <class Copy>
returns<std::string> text(Copy copy) {
  std::string made;
  std::size_t needed = 0;
  inferno_status code = copy(nullptr, std::size_t{0}, &needed);
  while (code == INFERNO_STATUS_OK && made.size() < needed) {
    made.resize(needed);
    code = copy(made.data(), made.size(), &needed);
    if (code == INFERNO_STATUS_OK) break;
    if (code == INFERNO_STATUS_SIZE_MISMATCH && needed > made.size()) code = INFERNO_STATUS_OK;
  }
  if (code == INFERNO_STATUS_OK) made.resize(needed - 1);
  return give(code, std::move(made));
}

template <class Get>
returns<inferno_metrics> metrics(Get get) {
  inferno_metrics made{};
  made.struct_size = sizeof made;
  const inferno_status code = get(&made);
  return give(code, made);
}

}  // namespace detail

/** When and for whom a subscriber is called: inferno_subscription_options. */
class subscription_options {
 public:
  /** Time from one call to the next. */
  subscription_options& with_interval(std::chrono::nanoseconds interval) {
    interval_ = interval;
    return *this;
  }
  /** Handed to the callback; must outlive the subscription. */
  subscription_options& with_user_data(void* user_data) {
    user_data_ = user_data;
    return *this;
  }
  /** Who calls: a thread of Inferno's, or the host by metrics::poll. */
  subscription_options& with_driver(inferno_metrics_driver driver) {
    driver_ = driver;
    return *this;
  }

  /** The C struct. */
  inferno_subscription_options c_options() const {
    inferno_subscription_options made{};
    static_cast<void>(inferno_subscription_options_init(&made, sizeof made));
    made.user_data = user_data_;
    made.driver = driver_;
    if (interval_) {
      made.interval_ns =
          interval_->count() < 0 ? 0 : static_cast<std::uint64_t>(interval_->count());
    }
    return made;
  }

 private:
  void* user_data_ = nullptr;
  std::optional<std::chrono::nanoseconds> interval_;
  inferno_metrics_driver driver_ = INFERNO_METRICS_DRIVER_THREAD;
};

/** A subscription, until it is destroyed: not inside a callback of metrics. Destroyed after the
 *  runtime was shut down, which ends all, it does nothing. */
class [[nodiscard]] subscription {
 public:
  subscription() = default;
  /** Takes over a subscription made in C. */
  explicit subscription(std::uint64_t number) noexcept : number_(number) {}
  subscription(subscription&& other) noexcept : number_(std::exchange(other.number_, 0)) {}
  subscription& operator=(subscription&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~subscription() {
    if (number_ != 0) static_cast<void>(inferno_metrics_unsubscribe(number_));
  }

  explicit operator bool() const noexcept { return number_ != 0; }

 private:
  std::uint64_t number_ = 0;
};

/** What the library counted, and who is told. */
struct metrics {
  /** inferno_metrics_snapshot */
  static returns<inferno_metrics> snapshot() { return detail::metrics(inferno_metrics_snapshot); }
  /** inferno_metrics_model: the models of the `index`-th name. */
  static returns<inferno_metrics> of_model(std::size_t index) {
    return detail::metrics([=](inferno_metrics* made) { return inferno_metrics_model(index, made); });
  }
  /** inferno_metrics_set_counting */
  static returns<void> set_counting(bool on) {
    return detail::done(inferno_metrics_set_counting(on ? 1 : 0));
  }
  /** inferno_metrics_copy_openmetrics */
  static returns<std::string> openmetrics() {
    return detail::text(inferno_metrics_copy_openmetrics);
  }
  /** inferno_metrics_copy_prometheus */
  static returns<std::string> prometheus() { return detail::text(inferno_metrics_copy_prometheus); }

  /** inferno_metrics_subscribe */
  static returns<subscription> subscribe(
      inferno_metrics_callback callback,
      const subscription_options& options = subscription_options()) {
    const inferno_subscription_options given = options.c_options();
    std::uint64_t number = 0;
    const inferno_status code = inferno_metrics_subscribe(callback, &given, &number);
    return detail::give(code, subscription(number));
  }
  /** inferno_metrics_watch: of the models called `model`, or with NULL of the library. */
  static returns<subscription> watch(inferno_metric metric, const char* model, double raise,
                                     double clear, inferno_threshold_callback callback,
                                     const subscription_options& options = subscription_options()) {
    const inferno_subscription_options given = options.c_options();
    std::uint64_t number = 0;
    const inferno_status code =
        inferno_metrics_watch(metric, model, raise, clear, callback, &given, &number);
    return detail::give(code, subscription(number));
  }
  /** inferno_metrics_export */
  static returns<subscription> export_to(
      const char* path, inferno_metrics_format format = INFERNO_METRICS_FORMAT_PROMETHEUS,
      const subscription_options& options = subscription_options()) {
    const inferno_subscription_options given = options.c_options();
    std::uint64_t number = 0;
    const inferno_status code = inferno_metrics_export(path, format, &given, &number);
    return detail::give(code, subscription(number));
  }
  /** inferno_metrics_poll: how long until something is due; nothing when nothing will be. */
  static returns<std::optional<std::chrono::nanoseconds>> poll() {
    std::uint64_t next = 0;
    const inferno_status code = inferno_metrics_poll(&next);
    std::optional<std::chrono::nanoseconds> due;
    if (next <= INT64_MAX) due = std::chrono::nanoseconds(static_cast<std::int64_t>(next));
    return detail::give(code, due);
  }
};

/** What was loaded, refused, what failed. */
struct audit {
  /** inferno_audit_subscribe */
  static returns<subscription> subscribe(
      inferno_event_callback callback,
      const subscription_options& options = subscription_options()) {
    const inferno_subscription_options given = options.c_options();
    std::uint64_t number = 0;
    const inferno_status code = inferno_audit_subscribe(callback, &given, &number);
    return detail::give(code, subscription(number));
  }
  /** inferno_audit_copy_log */
  static returns<std::string> log() { return detail::text(inferno_audit_copy_log); }
  /** inferno_audit_set_capacity */
  static returns<void> set_capacity(std::size_t size_bytes) {
    return detail::done(inferno_audit_set_capacity(size_bytes));
  }
  /** inferno_audit_verify: the number of records. */
  static returns<std::uint64_t> verify(const std::string& log) {
    std::uint64_t records = 0;
    const inferno_status code = inferno_audit_verify(log.data(), log.size(), &records);
    return detail::give(code, records);
  }
};

/** Loads, runs and steps over time. */
struct trace {
  /** inferno_trace_start */
  static returns<void> start(std::size_t size_bytes = 0) {
    return detail::done(inferno_trace_start(size_bytes));
  }
  /** inferno_trace_stop */
  static returns<void> stop() { return detail::done(inferno_trace_stop()); }
  /** inferno_trace_copy_json */
  static returns<std::string> json() { return detail::text(inferno_trace_copy_json); }
};

/** Images, scores and boxes before and after a run; no runtime is needed. */
struct prep {
  /** The defaults of inferno_image_options, to be changed. */
  static inferno_image_options image_options() {
    return detail::initial<inferno_image_options>(inferno_image_options_init);
  }
  /** The defaults of inferno_nms_options, to be changed. */
  static inferno_nms_options nms_options() {
    return detail::initial<inferno_nms_options>(inferno_nms_options_init);
  }
  /** The defaults of inferno_decode_options, to be changed. */
  static inferno_decode_options decode_options() {
    return detail::initial<inferno_decode_options>(inferno_decode_options_init);
  }

  /** inferno_image_to_tensor: `tensor` may be that of session::input_tensor. */
  static returns<inferno_image_map> image_to_tensor(
      const inferno_image& image, const inferno_tensor& tensor,
      const inferno_image_options& options = image_options()) {
    inferno_image_map map{};
    const inferno_status code = inferno_image_to_tensor(&image, &options, &tensor, &map);
    return detail::give(code, map);
  }

  /** inferno_softmax of rows of `count`; both views may be the same. */
  static returns<void> softmax(view<const float> scores, view<float> probabilities,
                               std::size_t count) {
    if (count == 0 || scores.size() % count != 0 || scores.size() != probabilities.size()) {
      return detail::fail<void>(detail::unlike("scores in whole rows, and as many probabilities"));
    }
    return detail::done(
        inferno_softmax(scores.data(), probabilities.data(), scores.size() / count, count));
  }
  /** inferno_argmax of one row. */
  static returns<std::size_t> argmax(view<const float> scores) {
    std::size_t index = 0;
    const inferno_status code = inferno_argmax(scores.data(), 1, scores.size(), &index);
    return detail::give(code, index);
  }
  /** inferno_top_k: as many as `indices` has room for, and how many there are. */
  static returns<std::size_t> top_k(view<const float> scores, view<std::size_t> indices) {
    std::size_t written = 0;
    const inferno_status code = inferno_top_k(scores.data(), scores.size(), indices.size(),
                                              indices.data(), nullptr, &written);
    return detail::give(code, written);
  }

  /** inferno_boxes_decode: how many detections there are. */
  static returns<std::size_t> decode(const inferno_tensor& predictions, view<float> boxes,
                                     view<float> scores, view<std::int32_t> classes,
                                     const inferno_image_map* map = nullptr,
                                     const inferno_decode_options& options = decode_options()) {
    const std::size_t room = std::min<std::size_t>({boxes.size() / 4, scores.size(), classes.size()});
    std::size_t count = 0;
    const inferno_status code =
        inferno_boxes_decode(&predictions, &options, map, boxes.data(), scores.data(),
                             classes.data(), room, &count);
    return detail::give(code, count);
  }
  /** inferno_boxes_nms: how many are kept. Boxes of all classes overlap when there are none. */
  static returns<std::size_t> nms(view<const float> boxes, view<const float> scores,
                                  view<std::size_t> indices, view<const std::int32_t> classes = {},
                                  const inferno_nms_options& options = nms_options()) {
    const std::size_t count = scores.size();
    if (boxes.size() / 4 != count || indices.size() < count ||
        (!classes.empty() && classes.size() != count)) {
      return detail::fail<std::size_t>(
          detail::unlike("four numbers, a score, an index and perhaps a class for each box"));
    }
    std::size_t kept = 0;
    const inferno_status code =
        inferno_boxes_nms(boxes.data(), scores.data(), classes.empty() ? nullptr : classes.data(),
                          count, &options, indices.data(), &kept);
    return detail::give(code, kept);
  }
};

/** Samples as they come, as frames that overlap: inferno_audio_framer with a ring of its own,
 *  which it takes when it is made. */
class audio_framer {
 public:
  audio_framer() = default;

  /** inferno_audio_framer_init: at most `write_samples` are written at once. */
  static returns<audio_framer> create(std::size_t frame_samples, std::size_t hop_samples,
                                      std::size_t write_samples) {
    audio_framer made;
    made.ring_.resize(frame_samples + write_samples);
    const inferno_status code =
        inferno_audio_framer_init(&made.framer_, sizeof made.framer_, made.ring_.data(),
                                  made.ring_.size(), frame_samples, hop_samples);
    return detail::give(code, std::move(made));
  }
  audio_framer(audio_framer&& other) noexcept
      : framer_(std::exchange(other.framer_, {})), ring_(std::move(other.ring_)) {}
  audio_framer& operator=(audio_framer&& other) noexcept {
    std::swap(framer_, other.framer_);
    std::swap(ring_, other.ring_);
    return *this;
  }

  /** inferno_audio_framer_write of interleaved samples, whose mean is taken. */
  returns<void> write(view<const std::int16_t> samples, std::size_t channels = 1) {
    return write(samples.data(), INFERNO_DTYPE_I16, samples.size(), channels);
  }
  returns<void> write(view<const float> samples, std::size_t channels = 1) {
    return write(samples.data(), INFERNO_DTYPE_F32, samples.size(), channels);
  }
  /** inferno_audio_framer_read: whether there was a frame. */
  returns<bool> read(view<float> frame) {
    std::int32_t is_read = 0;
    const inferno_status code =
        inferno_audio_framer_read(&framer_, frame.data(), frame.size(), &is_read);
    return detail::give(code, is_read != 0);
  }

 private:
  returns<void> write(const void* samples, inferno_dtype type, std::size_t values,
                      std::size_t channels) {
    const std::size_t count = channels == 0 ? 0 : values / channels;
    return detail::done(
        inferno_audio_framer_write(&framer_, samples, type, channels, 0, count));
  }

  inferno_audio_framer framer_{};
  std::vector<float> ring_;
};

/** One user of the runtime, from inferno_init to inferno_shutdown. It outlives the models and
 *  sessions of its program. */
class [[nodiscard]] runtime {
 public:
  runtime() = default;
  runtime(runtime&& other) noexcept : on_(std::exchange(other.on_, false)) {}
  runtime& operator=(runtime&& other) noexcept {
    std::swap(on_, other.on_);
    return *this;
  }
  ~runtime() {
    if (on_) static_cast<void>(inferno_shutdown());
  }

  /** inferno_init */
  static returns<runtime> start(const runtime_options& options = runtime_options()) {
    const inferno_runtime_options given = options.c_options();
    const inferno_status code = inferno_init(&given);
    return detail::give(code, runtime(code == INFERNO_STATUS_OK));
  }

  explicit operator bool() const noexcept { return on_; }

 private:
  explicit runtime(bool on) noexcept : on_(on) {}

  bool on_ = false;
};

/** Options of a load: inferno_model_options. */
class model_options {
 public:
  /** What messages call the model. */
  model_options& with_name(std::string name) {
    name_ = std::move(name);
    return *this;
  }
  /** What the model may ask for: the defaults of inferno_model_limits_init, changed by you. */
  model_options& with_limits(const inferno_model_limits& limits) {
    limits_ = limits;
    return *this;
  }
  /** Reads external data of a model loaded from memory; must live until the load is done. */
  model_options& with_reader(const inferno_reader& reader) {
    reader_ = &reader;
    return *this;
  }

  /** Whether a process of its own tries the model first. */
  model_options& with_isolation(inferno_isolation isolation) {
    isolation_ = isolation;
    return *this;
  }

  /** Whose load it is: the audit log tells it. */
  model_options& with_tag(std::string tag) {
    tag_ = std::move(tag);
    return *this;
  }

  /** What the model and its sessions may hold, its load among it. */
  model_options& with_budget(budget bounds) {
    budget_ = bounds;
    return *this;
  }

  /** The C struct, which points into this one. */
  inferno_model_options c_options() const {
    inferno_model_options made{};
    static_cast<void>(inferno_model_options_init(&made, sizeof made));
    if (!name_.empty()) made.name = name_.c_str();
    if (!tag_.empty()) made.tag = tag_.c_str();
    if (limits_.struct_size != 0) made.limits = &limits_;
    made.reader = reader_;
    made.isolation = isolation_;
    made.soft_budget_bytes = budget_.soft_bytes;
    made.hard_budget_bytes = budget_.hard_bytes;
    return made;
  }

 private:
  std::string name_;
  std::string tag_;
  inferno_model_limits limits_{};
  const inferno_reader* reader_ = nullptr;
  inferno_isolation isolation_ = INFERNO_ISOLATION_NONE;
  budget budget_;
};

class session_options;

/** A loaded model: immutable, to be used by any number of sessions and threads. */
class model : public detail::owner<inferno_model, inferno_model_free> {
 public:
  using owner::owner;

  /** inferno_model_load */
  static returns<model> load(const char* path, const model_options& options = model_options()) {
    const inferno_model_options given = options.c_options();
    inferno_model* made = nullptr;
    const inferno_status code = inferno_model_load(path, &given, &made);
    return detail::give(code, model(made));
  }
  static returns<model> load(const std::string& path,
                             const model_options& options = model_options()) {
    return load(path.c_str(), options);
  }
  /** inferno_model_load_memory */
  static returns<model> load_memory(const void* data, std::size_t size_bytes,
                                    const model_options& options = model_options()) {
    const inferno_model_options given = options.c_options();
    inferno_model* made = nullptr;
    const inferno_status code = inferno_model_load_memory(data, size_bytes, &given, &made);
    return detail::give(code, model(made));
  }
  /** inferno_model_load_reader */
  static returns<model> load_reader(const inferno_reader& reader, const char* path,
                                    const model_options& options = model_options()) {
    const inferno_model_options given = options.c_options();
    inferno_model* made = nullptr;
    const inferno_status code = inferno_model_load_reader(&reader, path, &given, &made);
    return detail::give(code, model(made));
  }
  /** inferno_model_load_default */
  static returns<model> load_default() {
    inferno_model* made = nullptr;
    const inferno_status code = inferno_model_load_default(&made);
    return detail::give(code, model(made));
  }

  /** inferno_model_input_count */
  returns<std::size_t> input_count() const {
    std::size_t count = 0;
    const inferno_status code = inferno_model_input_count(get(), &count);
    return detail::give(code, count);
  }
  /** inferno_model_output_count */
  returns<std::size_t> output_count() const {
    std::size_t count = 0;
    const inferno_status code = inferno_model_output_count(get(), &count);
    return detail::give(code, count);
  }
  /** inferno_model_input: its strings live as long as the model. */
  returns<inferno_tensor_info> input(std::size_t index) const {
    inferno_tensor_info info{};
    const inferno_status code = inferno_model_input(get(), index, &info);
    return detail::give(code, info);
  }
  /** inferno_model_output: its strings live as long as the model. */
  returns<inferno_tensor_info> output(std::size_t index) const {
    inferno_tensor_info info{};
    const inferno_status code = inferno_model_output(get(), index, &info);
    return detail::give(code, info);
  }
  /** inferno_model_input_index */
  returns<std::size_t> find_input(const char* name) const {
    std::size_t index = 0;
    const inferno_status code = inferno_model_input_index(get(), name, &index);
    return detail::give(code, index);
  }
  /** inferno_model_output_index */
  returns<std::size_t> find_output(const char* name) const {
    std::size_t index = 0;
    const inferno_status code = inferno_model_output_index(get(), name, &index);
    return detail::give(code, index);
  }
  /** inferno_model_get_info: its strings live as long as the model. */
  returns<inferno_model_info> info() const {
    inferno_model_info info{};
    info.struct_size = sizeof info;
    const inferno_status code = inferno_model_get_info(get(), &info);
    return detail::give(code, info);
  }
  /** inferno_model_metadata_count */
  returns<std::size_t> metadata_count() const {
    std::size_t count = 0;
    const inferno_status code = inferno_model_metadata_count(get(), &count);
    return detail::give(code, count);
  }
  /** inferno_model_metadata: key and value, which live as long as the model. */
  returns<std::pair<const char*, const char*>> metadata(std::size_t index) const {
    std::pair<const char*, const char*> entry;
    const inferno_status code =
        inferno_model_metadata(get(), index, &entry.first, &entry.second);
    return detail::give(code, entry);
  }
  /** inferno_model_metadata_find: the value, which lives as long as the model. */
  returns<const char*> find_metadata(const char* key) const {
    const char* value = nullptr;
    const inferno_status code = inferno_model_metadata_find(get(), key, &value);
    return detail::give(code, value);
  }
  /** inferno_model_get_memory_stats */
  returns<inferno_memory_stats> memory_stats() const {
    inferno_memory_stats stats{};
    stats.struct_size = sizeof stats;
    const inferno_status code = inferno_model_get_memory_stats(get(), &stats);
    return detail::give(code, stats);
  }
  /** inferno_model_get_metrics */
  returns<inferno_metrics> metrics() const {
    return detail::metrics(
        [this](inferno_metrics* made) { return inferno_model_get_metrics(get(), made); });
  }
  /** inferno_model_set_memory_budget */
  returns<void> set_memory_budget(budget bounds) {
    return detail::done(
        inferno_model_set_memory_budget(get(), bounds.soft_bytes, bounds.hard_bytes));
  }
  /** inferno_model_memory: what a session with these options needs. */
  returns<inferno_memory_need> memory_need(const session_options& options) const;
};

/** Options of a session: inferno_session_options. Keeps copies of what it is given. */
class session_options {
 public:
  /** The value of a symbol, such as "batch", wherever it stands in the inputs. */
  session_options& with_symbol(std::string symbol, std::int64_t value) {
    symbols_.emplace_back(std::move(symbol), value);
    return *this;
  }
  /** The dims of one input. */
  session_options& with_shape(std::string input, const shape& dims) {
    shapes_.emplace_back(std::move(input), dims);
    return *this;
  }
  /** An input that never changes: a scalar. */
  template <class T>
  session_options& with_constant(std::string input, T value) {
    return with_constant(std::move(input), &value, shape());
  }
  /** An input that never changes: as many elements as `dims` say. */
  template <class T>
  session_options& with_constant(std::string input, const T* data, const shape& dims) {
    static_assert(std::is_trivially_copyable_v<T> && !std::is_pointer_v<T> &&
                      dtype_of<T> != INFERNO_DTYPE_UNDEFINED,
                  "no constant has such elements");
    inferno_tensor value = detail::tensor(dtype_of<T>, data, dims);
    constants_.push_back({std::move(input), value, {}});
    // A size no memory could hold is left for the library to refuse.
    if (value.size_bytes <= PTRDIFF_MAX && value.size_bytes != 0) {
      const auto* bytes = reinterpret_cast<const unsigned char*>(data);
      constants_.back().bytes.assign(bytes, bytes + value.size_bytes);
    }
    return *this;
  }
  /** A recurrent pair: after every run the output becomes the input of the next. */
  session_options& with_state(std::string input, std::string output) {
    states_.emplace_back(std::move(input), std::move(output));
    return *this;
  }
  /** What the session may hold. */
  session_options& with_budget(budget bounds) {
    budget_ = bounds;
    return *this;
  }
  /** Threads of a run, the calling one among them: 0 and 1 are that one alone. */
  session_options& with_threads(std::uint32_t threads) {
    threads_ = threads;
    return *this;
  }

 private:
  friend class model;
  friend class session;

  struct constant {
    std::string input;
    inferno_tensor value;
    std::vector<unsigned char> bytes;
  };

  /** The C struct with the arrays it points to, which point into the options. */
  struct c_form {
    explicit c_form(const session_options& from) {
      for (const auto& [name, value] : from.symbols_) symbols.push_back({name.c_str(), value});
      for (const auto& [name, dims] : from.shapes_) {
        inferno_input_shape made{name.c_str(), dims.rank(), {}};
        std::copy(dims.begin(), dims.end(), made.dims);
        shapes.push_back(made);
      }
      for (const constant& held : from.constants_) {
        inferno_tensor value = held.value;
        value.data = held.bytes.empty() ? nullptr : const_cast<unsigned char*>(held.bytes.data());
        constants.push_back({held.input.c_str(), value});
      }
      for (const auto& [input, output] : from.states_) {
        states.push_back({input.c_str(), output.c_str()});
      }
      static_cast<void>(inferno_session_options_init(&options, sizeof options));
      options.symbols = symbols.data();
      options.symbol_count = symbols.size();
      options.shapes = shapes.data();
      options.shape_count = shapes.size();
      options.constants = constants.data();
      options.constant_count = constants.size();
      options.states = states.data();
      options.state_count = states.size();
      options.soft_budget_bytes = from.budget_.soft_bytes;
      options.hard_budget_bytes = from.budget_.hard_bytes;
      options.threads = from.threads_;
    }
    c_form(const c_form&) = delete;
    c_form& operator=(const c_form&) = delete;

    inferno_session_options options{};
    std::vector<inferno_symbol_value> symbols;
    std::vector<inferno_input_shape> shapes;
    std::vector<inferno_input_constant> constants;
    std::vector<inferno_state_pair> states;
  };

  std::vector<std::pair<std::string, std::int64_t>> symbols_;
  std::vector<std::pair<std::string, shape>> shapes_;
  std::vector<constant> constants_;
  std::vector<std::pair<std::string, std::string>> states_;
  budget budget_;
  std::uint32_t threads_ = 0;
};

inline returns<inferno_memory_need> model::memory_need(const session_options& options) const {
  const session_options::c_form given(options);
  inferno_memory_need need{};
  need.struct_size = sizeof need;
  const inferno_status code = inferno_model_memory(get(), &given.options, &need);
  return detail::give(code, need);
}

/** One execution context over a model. One thread at a time may be inside it. */
class session : public detail::owner<inferno_session, inferno_session_free> {
 public:
  using owner::owner;

  /** inferno_session_new. The model may end before the session. */
  static returns<session> create(const model& from,
                                 const session_options& options = session_options()) {
    const session_options::c_form given(options);
    inferno_session* made = nullptr;
    const inferno_status code = inferno_session_new(from.get(), &given.options, &made);
    return detail::give(code, session(made));
  }

  /** inferno_session_set_shape */
  returns<void> set_shape(std::size_t input, const shape& dims) {
    return detail::done(inferno_session_set_shape(get(), input, dims.rank(), dims.data()));
  }
  /** inferno_session_prepare */
  returns<void> prepare() { return detail::done(inferno_session_prepare(get())); }
  /** inferno_session_get_memory_stats */
  returns<inferno_memory_stats> memory_stats() const {
    inferno_memory_stats stats{};
    stats.struct_size = sizeof stats;
    const inferno_status code = inferno_session_get_memory_stats(get(), &stats);
    return detail::give(code, stats);
  }
  /** inferno_session_get_metrics */
  returns<inferno_metrics> metrics() const {
    return detail::metrics(
        [this](inferno_metrics* made) { return inferno_session_get_metrics(get(), made); });
  }
  /** inferno_profile_set_enabled */
  returns<void> set_profiling(bool on) {
    return detail::done(inferno_profile_set_enabled(get(), on ? 1 : 0));
  }
  /** inferno_profile_reset */
  returns<void> reset_profile() { return detail::done(inferno_profile_reset(get())); }
  /** inferno_profile_copy_table */
  returns<std::string> profile_table() {
    return detail::text([this](char* buffer, std::size_t size, std::size_t* needed) {
      return inferno_profile_copy_table(get(), buffer, size, needed);
    });
  }
  /** inferno_profile_copy_json */
  returns<std::string> profile_json() {
    return detail::text([this](char* buffer, std::size_t size, std::size_t* needed) {
      return inferno_profile_copy_json(get(), buffer, size, needed);
    });
  }
  /** inferno_session_set_memory_budget */
  returns<void> set_memory_budget(budget bounds) {
    return detail::done(
        inferno_session_set_memory_budget(get(), bounds.soft_bytes, bounds.hard_bytes));
  }

  /** inferno_session_input as a view of T, which the input's dtype must be. It is valid until
   *  the input's shape changes, it is bound, or the session ends. */
  template <class T>
  returns<view<T>> input(std::size_t index) {
    inferno_tensor tensor{};
    const inferno_status code = inferno_session_input(get(), index, &tensor);
    return detail::typed<T>(code, tensor);
  }
  /** inferno_session_output as a view of T, which the output's dtype must be. It is valid
   *  until the next run, reset or change of shape. */
  template <class T>
  returns<view<const T>> output(std::size_t index) {
    inferno_tensor tensor{};
    const inferno_status code = inferno_session_output(get(), index, &tensor);
    return detail::typed<const T>(code, tensor);
  }
  /** inferno_session_input as it is in C, with its dims. */
  returns<inferno_tensor> input_tensor(std::size_t index) {
    inferno_tensor tensor{};
    const inferno_status code = inferno_session_input(get(), index, &tensor);
    return detail::give(code, tensor);
  }
  /** inferno_session_output as it is in C, with its dims. */
  returns<inferno_tensor> output_tensor(std::size_t index) {
    inferno_tensor tensor{};
    const inferno_status code = inferno_session_output(get(), index, &tensor);
    return detail::give(code, tensor);
  }

  /** inferno_session_set_input: copies as many elements as `dims` say. */
  template <class T>
  returns<void> set_input(std::size_t index, const T* data, const shape& dims) {
    const inferno_tensor tensor = detail::tensor(dtype_of<T>, data, dims);
    return detail::done(inferno_session_set_input(get(), index, &tensor));
  }
  /** inferno_session_copy_output: gives the bytes needed; without a buffer only those. */
  returns<std::size_t> copy_output(std::size_t index, void* buffer, std::size_t size_bytes) {
    std::size_t needed = 0;
    const inferno_status code =
        inferno_session_copy_output(get(), index, buffer, size_bytes, &needed);
    return detail::give(code, needed);
  }

  /** inferno_session_bind_input: every run reads from `data`, which must outlive that. */
  template <class T>
  returns<void> bind_input(std::size_t index, const T* data, const shape& dims) {
    const inferno_tensor tensor = detail::tensor(dtype_of<T>, data, dims);
    return detail::done(inferno_session_bind_input(get(), index, &tensor));
  }
  /** inferno_session_bind_output: every run also writes to `data`, which must outlive that. */
  template <class T>
  returns<void> bind_output(std::size_t index, T* data, const shape& dims) {
    static_assert(!std::is_const_v<T>, "an output is written to");
    const inferno_tensor tensor = detail::tensor(dtype_of<T>, data, dims);
    return detail::done(inferno_session_bind_output(get(), index, &tensor));
  }
  /** inferno_session_bind_input with NULL */
  returns<void> unbind_input(std::size_t index) {
    return detail::done(inferno_session_bind_input(get(), index, nullptr));
  }
  /** inferno_session_bind_output with NULL */
  returns<void> unbind_output(std::size_t index) {
    return detail::done(inferno_session_bind_output(get(), index, nullptr));
  }

  /** inferno_session_run */
  returns<void> run() { return detail::done(inferno_session_run(get(), nullptr)); }
  /** The same within `timeout`; past it the status is DEADLINE_EXCEEDED and nothing has changed. */
  returns<void> run(std::chrono::nanoseconds timeout) {
    inferno_run_options options{};
    static_cast<void>(inferno_run_options_init(&options, sizeof options));
    options.timeout_ns = timeout.count() > 0 ? static_cast<std::uint64_t>(timeout.count()) : 1;
    return detail::done(inferno_session_run(get(), &options));
  }
  /** inferno_session_run_for: goes on with a run for about so long, or begins one; whether it
   *  has finished. */
  returns<bool> run_for(std::chrono::nanoseconds budget) {
    std::int32_t finished = 0;
    const auto ns = budget.count() > 0 ? static_cast<std::uint64_t>(budget.count()) : 0;
    const inferno_status code = inferno_session_run_for(get(), ns, &finished);
    return detail::give(code, finished != 0);
  }
  /** inferno_session_cancel: from any thread. */
  returns<void> cancel() { return detail::done(inferno_session_cancel(get())); }
  /** inferno_session_reset */
  returns<void> reset() { return detail::done(inferno_session_reset(get())); }

  /** inferno_session_copy_state */
  returns<std::vector<std::byte>> save_state() {
    std::vector<std::byte> state;
    std::size_t size = 0;
    inferno_status code = inferno_session_state_size(get(), &size);
    if (code == INFERNO_STATUS_OK) {
      state.resize(size);
      code = inferno_session_copy_state(get(), state.data(), state.size());
    }
    return detail::give(code, std::move(state));
  }
  /** inferno_session_set_state */
  returns<void> restore_state(const std::vector<std::byte>& state) {
    return restore_state(state.data(), state.size());
  }
  returns<void> restore_state(const void* data, std::size_t size_bytes) {
    return detail::done(inferno_session_set_state(get(), data, size_bytes));
  }
};

/** Options of a queue: inferno_queue_options. */
class queue_options {
 public:
  queue_options() { static_cast<void>(inferno_queue_options_init(&options_, sizeof options_)); }

  /** Threads of the queue's own; none by default. */
  queue_options& with_workers(std::uint32_t workers) {
    options_.workers = workers;
    return *this;
  }
  /** Jobs that there may be. */
  queue_options& with_capacity(std::uint32_t jobs) {
    options_.capacity = jobs;
    return *this;
  }
  /** Rows of a batch at the most, and how long a job waits for company at the most. */
  queue_options& with_batches(std::uint32_t rows, std::chrono::nanoseconds max_delay = {}) {
    options_.max_batch = rows;
    options_.max_delay_ns = static_cast<std::uint64_t>(std::max<std::int64_t>(max_delay.count(), 0));
    return *this;
  }
  /** Whether jobs wait shorter where no company is to be expected; yes by default. */
  queue_options& with_learned_delay(bool is_learned) {
    options_.is_delay_learned = is_learned ? 1 : 0;
    return *this;
  }
  /** Batches that run at once. */
  queue_options& with_concurrency(std::uint32_t batches) {
    options_.concurrency = batches;
    return *this;
  }
  /** So many failures in a row open the breaker, for so long. */
  queue_options& with_breaker(std::uint32_t failures, std::chrono::nanoseconds open) {
    options_.breaker_failures = failures;
    options_.breaker_open_ns = static_cast<std::uint64_t>(std::max<std::int64_t>(open.count(), 0));
    return *this;
  }
  /** How often a run that memory was short for is tried again. */
  queue_options& with_retries(std::uint32_t retries, std::chrono::nanoseconds first_delay) {
    options_.retries = retries;
    options_.retry_delay_ns =
        static_cast<std::uint64_t>(std::max<std::int64_t>(first_delay.count(), 0));
    return *this;
  }
  /** Threads of a run. */
  queue_options& with_threads(std::uint32_t threads) {
    options_.threads = threads;
    return *this;
  }

  /** The C struct. */
  const inferno_queue_options& c_options() const noexcept { return options_; }

 private:
  inferno_queue_options options_{};
};

/** Options of a job: inferno_job_options. */
class job_options {
 public:
  job_options() { static_cast<void>(inferno_job_options_init(&options_, sizeof options_)); }

  job_options& with_priority(inferno_priority priority) {
    options_.priority = priority;
    return *this;
  }
  /** Whose job it is: producers take turns. */
  job_options& with_producer(std::uint64_t producer) {
    options_.producer = producer;
    return *this;
  }
  /** How long it is wanted. */
  job_options& with_timeout(std::chrono::nanoseconds timeout) {
    options_.timeout_ns = static_cast<std::uint64_t>(std::max<std::int64_t>(timeout.count(), 1));
    return *this;
  }
  /** Called once, when the job has ended. */
  job_options& with_callback(inferno_job_callback callback, void* user_data) {
    options_.callback = callback;
    options_.user_data = user_data;
    return *this;
  }
  /** The inputs are not copied: their memory must not change until the job is answered. */
  job_options& with_borrowed_inputs() {
    options_.is_borrowed = 1;
    return *this;
  }

  /** The C struct. */
  const inferno_job_options& c_options() const noexcept { return options_; }

 private:
  inferno_job_options options_{};
};

/** A job of a queue. Its end cancels it when it still waits. */
class job : public detail::owner<inferno_job, inferno_job_free> {
 public:
  using owner::owner;

  /** inferno_job_wait: how the job ended. */
  returns<void> wait() const { return detail::done(inferno_job_wait(get(), UINT64_MAX)); }
  /** inferno_job_wait: INFERNO_STATUS_NOT_READY when it is not answered in time. */
  returns<void> wait_for(std::chrono::nanoseconds timeout) const {
    const auto ns = std::max<std::int64_t>(timeout.count(), 0);
    return detail::done(inferno_job_wait(get(), static_cast<std::uint64_t>(ns)));
  }
  /** inferno_job_poll */
  returns<void> poll() const { return detail::done(inferno_job_poll(get())); }
  /** inferno_job_cancel */
  returns<void> cancel() { return detail::done(inferno_job_cancel(get())); }
  /** inferno_job_output as a view of T, which the output's dtype must be. It is valid until
   *  the job ends. */
  template <class T>
  returns<view<const T>> output(std::size_t index) const {
    inferno_tensor tensor{};
    const inferno_status code = inferno_job_output(get(), index, &tensor);
    return detail::typed<const T>(code, tensor);
  }
  /** inferno_job_output as it is in C, with its dims. */
  returns<inferno_tensor> output_tensor(std::size_t index) const {
    inferno_tensor tensor{};
    const inferno_status code = inferno_job_output(get(), index, &tensor);
    return detail::give(code, tensor);
  }
  /** inferno_job_error */
  std::string error_text() const { return inferno_job_error(get()); }
};

/** Jobs from any thread, joined into batches. */
class queue : public detail::owner<inferno_queue, inferno_queue_free> {
 public:
  using owner::owner;

  /** inferno_queue_new. The model may end before the queue. */
  static returns<queue> create(const model& from, const queue_options& options = queue_options()) {
    inferno_queue* made = nullptr;
    const inferno_status code = inferno_queue_new(from.get(), &options.c_options(), &made);
    return detail::give(code, queue(made));
  }

  /** inferno_queue_submit, of a model with one input: as many elements as `dims` say. */
  template <class T>
  returns<job> submit(const T* data, const shape& dims, const job_options& options = job_options()) {
    const inferno_tensor input = detail::tensor(dtype_of<T>, data, dims);
    return submit(&input, 1, options);
  }
  /** inferno_queue_submit, of all inputs in their order. */
  returns<job> submit(const inferno_tensor* inputs, std::size_t count,
                      const job_options& options = job_options()) {
    inferno_job* made = nullptr;
    const inferno_status code =
        inferno_queue_submit(get(), inputs, count, &options.c_options(), &made);
    return detail::give(code, job(made));
  }
  /** inferno_queue_submit without a job to keep: its callback is told. */
  returns<void> post(const inferno_tensor* inputs, std::size_t count, const job_options& options) {
    return detail::done(inferno_queue_submit(get(), inputs, count, &options.c_options(), nullptr));
  }

  /** inferno_queue_pump, without a bound when `budget` is zero: how many batches ran. */
  returns<std::uint64_t> pump(std::chrono::nanoseconds budget = {}) {
    std::uint64_t steps = 0;
    const auto ns = static_cast<std::uint64_t>(std::max<std::int64_t>(budget.count(), 0));
    const inferno_status code = inferno_queue_pump(get(), ns, &steps);
    return detail::give(code, steps);
  }
  /** inferno_queue_shutdown: what waits runs; for ever. */
  returns<void> drain() {
    return detail::done(
        inferno_queue_shutdown(get(), INFERNO_SHUTDOWN_MODE_DRAIN, UINT64_MAX));
  }
  /** inferno_queue_shutdown */
  returns<void> shutdown(inferno_shutdown_mode mode, std::chrono::nanoseconds timeout) {
    const auto ns = static_cast<std::uint64_t>(std::max<std::int64_t>(timeout.count(), 0));
    return detail::done(inferno_queue_shutdown(get(), mode, ns));
  }
  /** inferno_queue_get_metrics */
  returns<inferno_queue_metrics> metrics() const {
    inferno_queue_metrics made{};
    made.struct_size = sizeof made;
    const inferno_status code = inferno_queue_get_metrics(get(), &made);
    return detail::give(code, made);
  }
};

}  // namespace INFERNO_WAY
}  // namespace inferno

#undef INFERNO_WAY

#endif  // INFERNO_HPP
