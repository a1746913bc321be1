// causerie.hpp: the C API as C++17. Header-only; link as for causerie.h. docs/cpp.md has the loop, and the thread rules by method.
//
// Handles are move-only and end themselves; `close()` ends one earlier, from any thread, also while it is used: calls under way
// go on, later ones throw closed_error. One that was moved from throws closed_error as well. A call that fails throws a class of
// causerie::error: busy_error, cancelled_error, … or, for a code that this header does not know, error itself. Texts go in as
// std::string_view; paths, keys and names as std::string, without a zero byte. Numbers that cannot be negative are checked, and
// so are indices: past the end is invalid_error. Callbacks are any callable; false stops the call, and an exception thrown in
// one ends the call and comes out of it (the log's is swallowed). What is lent (span, std::string_view) lives as long as its
// handle; asked of a temporary, it is a copy.
#ifndef CAUSERIE_HPP
#define CAUSERIE_HPP

#if !defined(__cpp_exceptions) && !defined(__EXCEPTIONS)
#error "causerie.hpp tells errors by exceptions: compile without -fno-exceptions, or use causerie.h"
#endif
#if __cplusplus < 201703L
#error "causerie.hpp is C++17: compile with -std=c++17 or later, or use causerie.h"
#endif

#include <causerie.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace causerie {

// What a call failed with: a code (CAUSERIE_INVALID …) and what() to read. Catch this, or one of the kinds below.
class error : public std::runtime_error {
 public:
  error(std::int32_t code, const std::string &message) : std::runtime_error(message), code_(code) {}
  std::int32_t code() const noexcept { return code_; }

 private:
  std::int32_t code_;
};

template <std::int32_t Code>
class error_of : public error {
 public:
  explicit error_of(const std::string &message) : error(Code, message) {}
};
using invalid_error = error_of<CAUSERIE_INVALID>;
using not_found_error = error_of<CAUSERIE_NOT_FOUND>;
using io_error = error_of<CAUSERIE_IO>;
using format_error = error_of<CAUSERIE_FORMAT>;
using teacher_error = error_of<CAUSERIE_TEACHER>;
using memory_error = error_of<CAUSERIE_MEMORY>;
using cancelled_error = error_of<CAUSERIE_CANCELLED>;
using unsupported_error = error_of<CAUSERIE_UNSUPPORTED>;
using busy_error = error_of<CAUSERIE_BUSY>;      // another call uses the handle: nothing was done, try again
using closed_error = error_of<CAUSERIE_CLOSED>;  // the handle was closed, or moved from
using bug_error = error_of<CAUSERIE_BUG>;

class run;

namespace detail {

class calling;

// Throws the kind of error that a code names.
[[noreturn]] inline void fail(std::int32_t code, const std::string &message) {
  switch (code) {
    case CAUSERIE_INVALID: throw invalid_error(message);
    case CAUSERIE_NOT_FOUND: throw not_found_error(message);
    case CAUSERIE_IO: throw io_error(message);
    case CAUSERIE_FORMAT: throw format_error(message);
    case CAUSERIE_TEACHER: throw teacher_error(message);
    case CAUSERIE_MEMORY: throw memory_error(message);
    case CAUSERIE_CANCELLED: throw cancelled_error(message);
    case CAUSERIE_UNSUPPORTED: throw unsupported_error(message);
    case CAUSERIE_BUSY: throw busy_error(message);
    case CAUSERIE_CLOSED: throw closed_error(message);
    case CAUSERIE_BUG: throw bug_error(message);
    default: throw error(code, message);
  }
}

template <class T, void (*Free)(T *)>
struct deleter {
  void operator()(T *handle) const noexcept { Free(handle); }
};

// Throws what the call failed with.
inline void check(causerie_error *e) {
  const std::unique_ptr<causerie_error, deleter<causerie_error, causerie_error_free>> owned(e);
  if (e != nullptr) fail(causerie_error_code(e), causerie_error_message(e));
}

inline std::string text(const char *borrowed) { return borrowed == nullptr ? std::string() : std::string(borrowed); }
inline std::string_view view(const char *borrowed) { return borrowed == nullptr ? std::string_view() : std::string_view(borrowed); }

// A path, a key, a name: C reads it to its first zero byte, and so it must have none.
inline const char *zero_ended(const std::string &s, const char *what) {
  if (s.find('\0') != std::string::npos) throw invalid_error(std::string(what) + ": a zero byte stands in it");
  return s.c_str();
}
inline const char *null_if_empty(const std::string &s, const char *what) { return s.empty() ? nullptr : zero_ended(s, what); }

// A number that is not negative, taken from any integer: what does not fit is an error, not another number.
template <class To>
class whole {
 public:
  template <class From, std::enable_if_t<std::is_integral_v<From> && !std::is_same_v<From, bool>, int> = 0>
  constexpr whole(From n) noexcept : negative_(below_zero(n)), size_(static_cast<std::uint64_t>(n)) {}
  To of(const char *what, std::uint64_t most = std::numeric_limits<To>::max()) const {
    if (negative_ || size_ > most) {
      const std::string number = negative_ ? std::to_string(static_cast<std::int64_t>(size_)) : std::to_string(size_);
      throw invalid_error(std::string(what) + ": " + number + " is not a whole number from 0 to " + std::to_string(most));
    }
    return static_cast<To>(size_);
  }

 private:
  template <class From>
  static constexpr bool below_zero(From n) noexcept {
    if constexpr (std::is_signed_v<From>) {
      return n < 0;
    } else {
      static_cast<void>(n);
      return false;
    }
  }
  bool negative_;
  std::uint64_t size_;
};
using index = whole<std::size_t>;
constexpr std::uint64_t most_items = 0x7fffffff;  // of top_k and explain

// `i`, which must be below `count`.
inline std::size_t within(index i, std::size_t count, const char *what) {
  const std::size_t at = i.of(what);
  if (at >= count) throw invalid_error(std::string(what) + ": " + std::to_string(at) + " of " + std::to_string(count));
  return at;
}

// A number as TOML reads it: the shortest that is read back as the same.
inline std::string shortest(double number) {
  char out[64];
  const auto end = std::to_chars(out, out + sizeof out, number);
  return std::string(out, end.ptr);
}

inline const char *noun(const causerie_config *) { return "config"; }
inline const char *noun(const causerie_run *) { return "run"; }
inline const char *noun(const causerie_dataset *) { return "dataset"; }
inline const char *noun(const causerie_embeddings *) { return "embeddings"; }
inline const char *noun(const causerie_selection *) { return "selection"; }
inline const char *noun(const causerie_dialogues *) { return "dialogues"; }
inline const char *noun(const causerie_model *) { return "model"; }
inline const char *noun(const causerie_query *) { return "query"; }
inline const char *noun(const causerie_reply *) { return "reply"; }
inline const char *noun(const causerie_recommender *) { return "recommender"; }
inline const char *noun(const causerie_report *) { return "report"; }

// The handle, where it stands for something.
template <class T>
T *alive(T *raw, bool closed) {
  if (raw == nullptr) throw closed_error(std::string("this ") + noun(raw) + " was moved from: it stands for nothing any more");
  if (closed) throw closed_error(std::string("this ") + noun(raw) + " was closed");
  return raw;
}

}  // namespace detail

// A view of values that a handle owns; it lives as long as the handle.
template <class T>
class span {
 public:
  span(const T *data, std::size_t size) noexcept : data_(data), size_(size) {}
  span(const std::vector<T> &values) noexcept : span(values.data(), values.size()) {}
  const T *data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  const T *begin() const noexcept { return data_; }
  const T *end() const noexcept { return data_ == nullptr ? nullptr : data_ + size_; }
  // Unchecked, as of an array.
  const T &operator[](std::size_t i) const { return data_[i]; }
  std::vector<T> copy() const { return std::vector<T>(begin(), end()); }

 private:
  const T *data_;
  std::size_t size_;
};

// "causerie/0.1.0 …" of the library that is linked.
inline std::string version() { return causerie_version(); }
// CAUSERIE_ABI of the library that is linked.
inline std::uint32_t abi() noexcept { return causerie_abi(); }
// Throws when the library linked does not fit this header.
inline void check_version() { detail::check(causerie_check_version(CAUSERIE_VERSION, CAUSERIE_ABI)); }
// Handles of this process that are not ended: for tests that look for leaks.
inline std::size_t handles() noexcept { return causerie_handles(); }

enum class log_level : std::int32_t {
  error = CAUSERIE_LOG_ERROR,
  warn = CAUSERIE_LOG_WARN,
  info = CAUSERIE_LOG_INFO,
  debug = CAUSERIE_LOG_DEBUG,
};
// Gets one line; any thread, several at once. What it throws is swallowed.
using log_fn = std::function<void(log_level, std::string_view)>;

namespace detail {
struct log_slot {
  std::mutex setting;  // one call of causerie::log at a time
  std::mutex mutex;
  std::shared_ptr<const log_fn> callback;
  // Lives to the end of the process: threads of the library may log while it ends.
  static log_slot &get() {
    static log_slot *const slot = new log_slot;
    return *slot;
  }
  static bool &inside() noexcept {
    static thread_local bool within = false;
    return within;
  }
  void put(std::shared_ptr<const log_fn> next) {
    const std::lock_guard<std::mutex> lock(mutex);
    callback.swap(next);
  }
  static void tell(std::int32_t level, const char *text, std::size_t size, void *data) noexcept {
    auto *self = static_cast<log_slot *>(data);
    if (inside()) return;
    inside() = true;
    try {
      std::shared_ptr<const log_fn> heard;
      {
        const std::lock_guard<std::mutex> lock(self->mutex);
        heard = self->callback;
      }
      if (heard) (*heard)(static_cast<log_level>(level), std::string_view(text, size));
    } catch (...) {  // a log has nobody to tell
    }
    inside() = false;
  }
};
}  // namespace detail

// Sends the log of the whole process to `callback`, lines up to `most`; an empty callable ends it. Any thread, but not from
// within a log callback: invalid_error.
inline void log(log_fn callback, log_level most = log_level::info) {
  if (detail::log_slot::inside()) throw invalid_error("log: not from within the log's own callback");
  detail::log_slot &slot = detail::log_slot::get();
  const std::lock_guard<std::mutex> lock(slot.setting);
  if (callback) {
    slot.put(std::make_shared<const log_fn>(std::move(callback)));
    causerie_log(&detail::log_slot::tell, &slot, static_cast<std::int32_t>(most));
  } else {
    causerie_log(nullptr, nullptr, 0);
    slot.put(nullptr);
  }
}

// Get each report of a call's progress, and the text that a language model writes ("" at the end of an answer); false stops.
using progress_fn = std::function<bool(const causerie_progress &)>;
using token_fn = std::function<bool(std::string_view)>;

namespace detail {

// What a run is. The run and every call under way on it hold it, so that it outlives whichever ends first.
struct run_state {
  run_state() = default;
  run_state(const run_state &) = delete;
  run_state &operator=(const run_state &) = delete;
  ~run_state() { causerie_run_free(raw); }

  causerie_run *raw = nullptr;
  std::atomic<bool> closed{false};
  std::mutex mutex;
  std::shared_ptr<const progress_fn> listener;
  std::shared_ptr<const token_fn> reader;
  // What callbacks threw, by the thread that made the call: they run on that thread.
  std::map<std::thread::id, std::exception_ptr> thrown;

  template <class Fn, class... Args>
  std::int32_t hear(std::shared_ptr<const Fn> run_state::*which, const Args &...args) noexcept {
    try {
      std::shared_ptr<const Fn> callback;
      {
        const std::lock_guard<std::mutex> lock(mutex);
        // It threw, and the call has not ended yet.
        if (const auto at = thrown.find(std::this_thread::get_id()); at != thrown.end() && at->second) return 1;
        callback = this->*which;
      }
      if (!callback || (*callback)(args...)) return 0;
    } catch (...) {
      keep(std::current_exception());
    }
    return 1;
  }
  void keep(std::exception_ptr e) noexcept {
    try {
      const std::lock_guard<std::mutex> lock(mutex);
      thrown[std::this_thread::get_id()] = std::move(e);
    } catch (...) {  // no memory: the call ends as cancelled
    }
  }
  // What a callback of this thread threw.
  std::exception_ptr take() noexcept {
    const std::lock_guard<std::mutex> lock(mutex);
    const auto at = thrown.find(std::this_thread::get_id());
    return at == thrown.end() ? nullptr : std::exchange(at->second, nullptr);
  }
  static std::int32_t tell(const causerie_progress *progress, void *data) noexcept {
    return static_cast<run_state *>(data)->hear(&run_state::listener, *progress);
  }
  static std::int32_t read(const char *text, std::size_t size, void *data) noexcept {
    return static_cast<run_state *>(data)->hear(&run_state::reader, std::string_view(text, size));
  }
};

}  // namespace detail

// One call under way: its threads, its progress, its cancellation. Any number of calls may share it, on any threads: a
// callback that gives false or throws ends the call that it was made for, and that alone; cancel() ends all. It may be moved or
// destroyed once a call is under way: the call goes on.
class run {
 public:
  using progress_fn = causerie::progress_fn;
  using token_fn = causerie::token_fn;

  explicit run(detail::whole<std::uint32_t> threads = 0, progress_fn callback = {}) : state_(std::make_shared<detail::run_state>()) {
    detail::check(causerie_run_new(threads.of("threads"), &state_->raw));
    if (callback) on_progress(std::move(callback));
  }
  run(run &&) noexcept = default;
  run &operator=(run &&) noexcept = default;
  run(const run &) = delete;
  run &operator=(const run &) = delete;

  // From the next call on; an empty callable takes it back.
  run &on_progress(progress_fn callback) {
    detail::run_state &state = use();
    const auto kept = callback ? std::make_shared<const progress_fn>(std::move(callback)) : nullptr;
    const bool hears = kept != nullptr;
    put(&detail::run_state::listener, kept);
    detail::check(causerie_run_on_progress(state.raw, hears ? &detail::run_state::tell : nullptr, &state));
    return *this;
  }
  run &on_token(token_fn callback) {
    detail::run_state &state = use();
    const auto kept = callback ? std::make_shared<const token_fn>(std::move(callback)) : nullptr;
    const bool hears = kept != nullptr;
    put(&detail::run_state::reader, kept);
    detail::check(causerie_run_on_token(state.raw, hears ? &detail::run_state::read : nullptr, &state));
    return *this;
  }
  // Ends the calls under way, and refuses later ones until reset(): any thread, any time.
  void cancel() const noexcept {
    if (state_) causerie_run_cancel(state_->raw);
  }
  void reset() const noexcept {
    if (state_) causerie_run_reset(state_->raw);
  }
  causerie_progress poll() const {
    causerie_progress out{};
    detail::check(causerie_run_poll(use().raw, &out, sizeof out));
    return out;
  }
  // Later calls throw closed_error; those under way go on.
  void close() noexcept {
    if (!state_) return;
    state_->closed = true;
    causerie_run_free(state_->raw);
  }
  // The C handle, for what C++ does not wrap; null once it was moved from. Hand what such a call gave to check().
  const causerie_run *get() const noexcept { return state_ ? state_->raw : nullptr; }
  // Throws what a callback threw on this thread, else what the call failed with.
  void check(causerie_error *e) const { ended(use(), e); }

 private:
  friend class detail::calling;
  detail::run_state &use() const {
    detail::alive(state_ ? state_->raw : nullptr, state_ && state_->closed);
    return *state_;
  }
  template <class Fn>
  void put(std::shared_ptr<const Fn> detail::run_state::*which, std::shared_ptr<const Fn> callback) {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    ((*state_).*which).swap(callback);
  }
  static void ended(detail::run_state &state, causerie_error *e) {
    const std::unique_ptr<causerie_error, detail::deleter<causerie_error, causerie_error_free>> owned(e);
    if (const std::exception_ptr thrown = state.take()) std::rethrow_exception(thrown);
    if (e != nullptr) detail::fail(causerie_error_code(e), causerie_error_message(e));
  }
  std::shared_ptr<detail::run_state> state_;
};

namespace detail {

// One call of this thread, with a run or without.
class calling {
 public:
  explicit calling(const run *r) {
    if (r == nullptr) return;
    r->use();
    state_ = r->state_;
    const std::lock_guard<std::mutex> lock(state_->mutex);
    outermost_ = state_->thrown.try_emplace(std::this_thread::get_id()).second;
  }
  calling(const calling &) = delete;
  calling &operator=(const calling &) = delete;
  ~calling() {
    if (!state_) return;
    if (!outermost_) return;
    const std::lock_guard<std::mutex> lock(state_->mutex);
    state_->thrown.erase(std::this_thread::get_id());
  }
  const causerie_run *raw() const noexcept { return state_ ? state_->raw : nullptr; }
  // Throws what a callback of this thread threw, also where the call came to a good end; else what it failed with.
  void end(causerie_error *e) const {
    if (state_) {
      run::ended(*state_, e);
    } else {
      detail::check(e);
    }
  }

 private:
  std::shared_ptr<detail::run_state> state_;
  bool outermost_ = false;
};

// Makes a call under a run, which may be null.
template <class Call>
void ask(const run *r, const Call &call) {
  const calling now(r);
  now.end(call(now.raw()));
}

// A handle that ends itself: move-only. `get()` is the C handle, for what C++ does not wrap; null once it was moved from.
template <class T, void (*Free)(T *)>
class handle {
 public:
  handle(handle &&other) noexcept : raw_(std::move(other.raw_)), closed_(other.closed_.load()) {}
  handle &operator=(handle &&other) noexcept {
    raw_ = std::move(other.raw_);
    closed_ = other.closed_.load();
    return *this;
  }
  T *get() const noexcept { return raw_.get(); }
  // Ends it now: any thread, also while others use it. Calls under way go on, later ones throw closed_error. What it lent is gone.
  void close() noexcept {
    closed_ = true;
    const std::unique_lock<std::shared_mutex> lock(copying_);
    Free(raw_.get());  // its number stays, and is of nothing any more
  }

 protected:
  using owner = std::unique_ptr<T, deleter<T, Free>>;
  explicit handle(owner raw) noexcept : raw_(std::move(raw)) {}
  ~handle() = default;

  // The C handle, where it stands for something.
  T *use() const { return alive(raw_.get(), closed_); }
  // What the handle tells without an error of its own; what it lends is copied in `read`, before it can be closed. C tells
  // nothing, or 0, of what is being changed: that is busy_error.
  template <class Read>
  auto told(const Read &read) const {
    for (;;) {
      const std::uint64_t changes = ended_;
      if (begun_ != changes) {
        throw busy_error(std::string("this ") + noun(get()) + " is being changed by another call: ask again when that has ended");
      }
      const std::shared_lock<std::shared_mutex> lock(copying_);
      auto out = read(use());
      use();  // closed meanwhile: what was told is of nothing
      if (begun_ == changes) return out;
    }
  }
  // A text that a call lends, copied.
  template <class Call>
  std::string lent(const Call &call) const {
    return told([&](T *raw) {
      const char *out = nullptr;
      check(call(raw, &out));
      return text(out);
    });
  }
  template <class Change>
  void change(const Change &make_it) {
    T *raw = use();
    ++begun_;
    const counted end{ended_};
    make_it(raw);
  }
  // What `call` makes: T.
  template <class Call>
  static owner make(const run *r, const Call &call) {
    const calling now(r);
    T *out = nullptr;
    causerie_error *e = call(now.raw(), &out);
    owner made(out);
    now.end(e);
    return made;
  }
  template <class Call>
  static owner make(const Call &call) {
    T *out = nullptr;
    check(call(&out));
    return owner(out);
  }

 private:
  template <class U, void (*End)(U *)>
  friend U *in(const handle<U, End> &h);
  struct counted {
    std::atomic<std::uint64_t> &count;
    ~counted() { ++count; }
  };
  owner raw_;
  std::atomic<bool> closed_{false};
  std::atomic<std::uint64_t> begun_{0}, ended_{0};  // changes
  mutable std::shared_mutex copying_;               // against being closed
};

// An Arrow struct that a call takes: it is released whatever comes of the call, also where that was not made.
template <class T>
struct taken {
  explicit taken(T *given) noexcept : it(given) {}
  taken(const taken &) = delete;
  taken &operator=(const taken &) = delete;
  ~taken() {
    if (it != nullptr && it->release != nullptr) it->release(it);
  }
  T *it;
};

// The C handle of what goes into a call; of what may be absent, null.
template <class T, void (*Free)(T *)>
T *in(const handle<T, Free> &h) {
  return h.use();
}
template <class Handle>
auto in_or_null(const Handle *h) -> decltype(in(*h)) {
  return h == nullptr ? nullptr : in(*h);
}

}  // namespace detail

// One setting: "select.budget", its kind, its default as TOML, bounds or choices in words, what it does. All texts are static.
struct setting {
  std::string_view key, kind, initial, bounds, doc;
};

// All settings that there are.
inline std::vector<setting> settings() {
  std::vector<setting> out(causerie_config_count());
  for (std::size_t i = 0; i < out.size(); ++i) {
    const causerie_setting *s = causerie_config_setting(i);
    if (s != nullptr) out[i] = {s->key, s->kind, s->initial, s->bounds, s->doc};
  }
  return out;
}
// The one of this name; not_found_error where there is none.
inline setting setting_of(std::string_view key) {
  for (const auto &s : settings()) {
    if (s.key == key) return s;
  }
  throw not_found_error("no setting is named " + std::string(key));
}

// The settings of every stage.
class config : public detail::handle<causerie_config, causerie_config_free> {
 public:
  config() : handle(make(&causerie_config_new)) {}
  explicit config(std::string_view toml) : config() { read(toml); }
  // A list: `a,b`, or TOML.
  config &set(const std::string &key, const std::string &value) {
    change([&](causerie_config *raw) {
      detail::check(causerie_config_set(raw, detail::zero_ended(key, "key"), detail::zero_ended(value, "value")));
    });
    return *this;
  }
  // A number or a boolean.
  template <class T, std::enable_if_t<std::is_arithmetic_v<T>, int> = 0>
  config &set(const std::string &key, T value) {
    if constexpr (std::is_same_v<T, bool>) {
      return set(key, std::string(value ? "true" : "false"));
    } else if constexpr (std::is_integral_v<T>) {
      return set(key, std::to_string(value));
    } else {
      return set(key, detail::shortest(static_cast<double>(value)));
    }
  }
  config &read(std::string_view toml) {
    change([&](causerie_config *raw) { detail::check(causerie_config_read(raw, toml.data(), toml.size())); });
    return *this;
  }
  // As TOML: texts in quotes.
  std::string value(const std::string &key) const {
    return lent([&](const causerie_config *raw, const char **out) { return causerie_config_get(raw, detail::zero_ended(key, "key"), out); });
  }
  std::string toml() const {
    return lent([](const causerie_config *raw, const char **out) { return causerie_config_toml(raw, out); });
  }

};

enum class table : std::int32_t { items = CAUSERIE_ITEMS, reviews = CAUSERIE_REVIEWS, interactions = CAUSERIE_INTERACTIONS };

// 1 load
class dataset : public detail::handle<causerie_dataset, causerie_dataset_free> {
 public:
  explicit dataset(const config &c) : handle(make([&](causerie_dataset **out) { return causerie_dataset_new(detail::in(c), out); })) {}
  // `dropped`, where it is given, gets how many rows were bad and passed over.
  static dataset import(const config &c, const run *r = nullptr, std::size_t *dropped = nullptr) {
    return dataset(make(r, [&](const causerie_run *raw, causerie_dataset **out) { return causerie_dataset_import(detail::in(c), raw, out, dropped); }));
  }
  static dataset load(const std::string &folder, const config &c) {
    return dataset(make([&](causerie_dataset **out) { return causerie_dataset_load(detail::zero_ended(folder, "folder"), detail::in(c), out); }));
  }
  void save(const std::string &folder) const { detail::check(causerie_dataset_save(use(), detail::zero_ended(folder, "folder"))); }
  // Each of these adds all rows or, when it throws, none; returns how many rows were bad and passed over (dataset.max_bad_lines).
  // Throws when not one row was good.
  std::size_t add(table t, std::string_view lines) {
    return added([&](causerie_dataset *raw, std::size_t *dropped) {
      detail::check(causerie_dataset_add(raw, static_cast<std::int32_t>(t), lines.data(), lines.size(), dropped));
    });
  }
  std::size_t add_file(table t, const std::string &path, const run *r = nullptr) {
    return added([&](causerie_dataset *raw, std::size_t *dropped) {
      const char *file = detail::zero_ended(path, "file");
      detail::ask(r, [&](const causerie_run *under) { return causerie_dataset_add_file(raw, static_cast<std::int32_t>(t), file, under, dropped); });
    });
  }
  // Takes both structs, whatever comes of it.
  std::size_t add(table t, ArrowSchema *schema, ArrowArray *array) {
    const detail::taken<ArrowSchema> first(schema);
    const detail::taken<ArrowArray> second(array);
    return added([&](causerie_dataset *raw, std::size_t *dropped) {
      detail::check(causerie_dataset_add_arrow(raw, static_cast<std::int32_t>(t), schema, array, dropped));
    });
  }
  // Takes the stream, whatever comes of it.
  std::size_t add(table t, ArrowArrayStream *stream, const run *r = nullptr) {
    const detail::taken<ArrowArrayStream> it(stream);
    return added([&](causerie_dataset *raw, std::size_t *dropped) {
      detail::ask(r, [&](const causerie_run *under) { return causerie_dataset_add_arrow_stream(raw, static_cast<std::int32_t>(t), stream, under, dropped); });
    });
  }
  std::size_t count(table t) const {
    return told([&](const causerie_dataset *raw) { return causerie_dataset_count(raw, static_cast<std::int32_t>(t)); });
  }
  // "Title (1999)" of item `i`; its id where it has no title.
  std::string title(detail::index i) const {
    return told([&](const causerie_dataset *raw) {
      return detail::text(causerie_dataset_title(raw, detail::within(i, causerie_dataset_count(raw, CAUSERIE_ITEMS), "item")));
    });
  }
  // What was kept and what was left out, as JSON.
  std::string report() const {
    return lent([](const causerie_dataset *raw, const char **out) { return causerie_dataset_report(raw, out); });
  }

 private:
  explicit dataset(owner raw) : handle(std::move(raw)) {}
  template <class Add>
  std::size_t added(const Add &add_to) {
    std::size_t dropped = 0;
    change([&](causerie_dataset *raw) { add_to(raw, &dropped); });
    return dropped;
  }
};

inline void simulate(const config &c, const std::string &folder, const run *r = nullptr) {
  detail::ask(r, [&](const causerie_run *raw) { return causerie_simulate(detail::in(c), detail::zero_ended(folder, "folder"), raw); });
}

// 2 embed
class embeddings : public detail::handle<causerie_embeddings, causerie_embeddings_free> {
 public:
  // `folder` keeps rows and embedder, so that it goes on where it was stopped; "" keeps nothing.
  embeddings(const dataset &d, const config &c, const std::string &folder = {}, const run *r = nullptr)
      : handle(make(r, [&](const causerie_run *raw, causerie_embeddings **out) {
          return causerie_embed(detail::in(d), detail::in(c), detail::null_if_empty(folder, "folder"), raw, out);
        })) {}
  // `data` is [rows, dim], row-major; copied.
  static embeddings from_rows(const float *data, detail::index rows, detail::index dim) {
    return embeddings(make([&](causerie_embeddings **out) { return causerie_embeddings_from_rows(data, rows.of("rows"), dim.of("dim"), out); }));
  }
  // Lists of floats, or a struct with one such column, as of causerie_embeddings_from_arrow. Takes both structs.
  static embeddings from_arrow(ArrowSchema *schema, ArrowArray *array) {
    const detail::taken<ArrowSchema> first(schema);
    const detail::taken<ArrowArray> second(array);
    return embeddings(make([&](causerie_embeddings **out) { return causerie_embeddings_from_arrow(schema, array, out); }));
  }
  // Takes the stream.
  static embeddings from_arrow(ArrowArrayStream *stream) {
    return embeddings(make([&](causerie_embeddings **out) { return causerie_embeddings_from_arrow_stream(stream, out); }));
  }
  // Rows too many for memory, mapped from a safetensors file or a list of shards: for selecting.
  static embeddings open(const std::string &file) {
    return embeddings(make([&](causerie_embeddings **out) { return causerie_embeddings_open(detail::zero_ended(file, "file"), out); }));
  }
  // The reviews of shard `at` (from 0) of `count` alone, into `folder`; returns how many shards are still to be made. Once all lie
  // in the folder, its embeddings.json lists them, for `open`.
  static std::size_t shard(const dataset &d, const config &c, const std::string &folder, detail::index at, detail::index count,
                           const run *r = nullptr) {
    std::size_t missing = 0;
    detail::ask(r, [&](const causerie_run *raw) {
      return causerie_embed_shard(detail::in(d), detail::in(c), detail::zero_ended(folder, "folder"), at.of("shard"), count.of("shards"), raw, &missing);
    });
    return missing;
  }
  // Lists shards that were brought together in `folder`; returns how many are not there.
  static std::size_t join(const std::string &folder, detail::index count) {
    std::size_t missing = 0;
    detail::check(causerie_embed_join(detail::zero_ended(folder, "folder"), count.of("shards"), &missing));
    return missing;
  }
  std::size_t rows() const { return shape().rows; }
  std::size_t dim() const { return shape().dim; }
  // [rows, dim], row-major; empty for mapped rows.
  span<float> data() const & {
    const auto s = shape();
    return {s.values, s.values == nullptr ? 0 : s.rows * s.dim};
  }
  std::vector<float> data() const && { return data().copy(); }
  void save(const std::string &file) const { detail::check(causerie_embeddings_save(use(), detail::zero_ended(file, "file"))); }
  // `store`: "f32", "f16" or "i8".
  void pack(const std::string &store, const std::string &file, const run *r = nullptr) const {
    detail::ask(r, [&](const causerie_run *raw) {
      return causerie_embeddings_pack(use(), detail::zero_ended(store, "store"), detail::zero_ended(file, "file"), raw);
    });
  }

 private:
  explicit embeddings(owner raw) : handle(std::move(raw)) {}
  struct matrix {
    const float *values;
    std::size_t rows, dim;
  };
  matrix shape() const {
    return told([](const causerie_embeddings *raw) {
      matrix m = {nullptr, 0, 0};
      m.values = causerie_embeddings_data(raw, &m.rows, &m.dim);
      return m;
    });
  }
};

// 3 select
class selection : public detail::handle<causerie_selection, causerie_selection_free> {
 public:
  // `d` may be null for "random", "js" and "fisher" without caps; `earlier`: a selection to continue; `checkpoint`: a file
  // that keeps the picks so far, "": none.
  selection(const dataset *d, const embeddings &e, const config &c, const run *r = nullptr, const selection *earlier = nullptr,
            const std::string &checkpoint = {})
      : handle(make(r, [&](const causerie_run *raw, causerie_selection **out) {
          const auto *before = detail::in_or_null(earlier);
          if (checkpoint.empty()) return causerie_select(detail::in_or_null(d), detail::in(e), before, detail::in(c), raw, out);
          return causerie_select_keeping(detail::in_or_null(d), detail::in(e), before, detail::zero_ended(checkpoint, "checkpoint"),
                                         detail::in(c), raw, out);
        })) {}
  // Writes the centres of K-means over all rows to a file, for select.centers: the JS strategies then select on them.
  static void centers(const dataset *d, const embeddings &e, const config &c, const std::string &file, const run *r = nullptr) {
    detail::ask(r, [&](const causerie_run *raw) {
      return causerie_select_centers(detail::in_or_null(d), detail::in(e), detail::in(c), raw, detail::zero_ended(file, "file"));
    });
  }
  // A selection that several machines share: each part (from 0) writes its picks to a file, `merge` lays the files together, and
  // `finalise` selects from them.
  static void part(const dataset *d, const embeddings &e, detail::whole<std::uint64_t> number, detail::whole<std::uint64_t> of,
                   const config &c, const std::string &file, const run *r = nullptr) {
    detail::ask(r, [&](const causerie_run *raw) {
      return causerie_select_part(detail::in_or_null(d), detail::in(e), number.of("part"), of.of("parts"), detail::in(c), raw,
                                  detail::zero_ended(file, "file"));
    });
  }
  static void merge(const std::vector<std::string> &files, const std::string &merged) {
    std::vector<const char *> names;
    for (const auto &file : files) names.push_back(detail::zero_ended(file, "file"));
    detail::check(causerie_select_merge(names.data(), names.size(), detail::zero_ended(merged, "merged")));
  }
  static selection finalise(const dataset *d, const embeddings &e, const std::string &merged, const config &c, const run *r = nullptr) {
    return selection(make(r, [&](const causerie_run *raw, causerie_selection **out) {
      return causerie_select_finalise(detail::in_or_null(d), detail::in(e), detail::zero_ended(merged, "merged"), detail::in(c), raw, out);
    }));
  }
  static selection load(const std::string &file) {
    return selection(make([&](causerie_selection **out) { return causerie_selection_load(detail::zero_ended(file, "file"), out); }));
  }
  // The selected rows, most informative first, and what each added, in nats.
  span<std::uint64_t> rows() const & {
    return told([](const causerie_selection *raw) {
      std::size_t count = 0;
      const std::uint64_t *data = causerie_selection_rows(raw, &count);
      return span<std::uint64_t>(data, count);
    });
  }
  std::vector<std::uint64_t> rows() const && { return rows().copy(); }
  span<double> gains() const & {
    return told([](const causerie_selection *raw) {
      std::size_t count = 0;
      const double *data = causerie_selection_gains(raw, &count);
      return span<double>(data, count);
    });
  }
  std::vector<double> gains() const && { return gains().copy(); }
  std::string report() const {
    return told([](const causerie_selection *raw) { return detail::text(causerie_selection_report(raw)); });
  }
  void save(const std::string &file) const { detail::check(causerie_selection_save(use(), detail::zero_ended(file, "file"))); }

 private:
  explicit selection(owner raw) : handle(std::move(raw)) {}
};

// What a teacher of yours answers.
struct answer {
  std::string text;
  std::uint64_t prompt_tokens = 0, completion_tokens = 0;
};
// Thrown by a teacher: no answer this time. `why` is CAUSERIE_FAIL_…; 0 and less to wait: as the library thinks fit.
struct teacher_failure {
  std::int32_t why;
  std::string message;
  std::int64_t retry_after_ms = 0;
};
// Called on up to synthesize.in_flight threads of the library at once. An exception other than teacher_failure ends the synthesis
// and comes out of it.
using teacher = std::function<answer(const causerie_request &)>;

// 4 synthesize
class dialogues : public detail::handle<causerie_dialogues, causerie_dialogues_free> {
 public:
  // With the teacher of the settings. `journal` keeps requests and answers; "" keeps nothing.
  dialogues(const dataset &d, const selection &s, const config &c, const std::string &journal = {}, const run *r = nullptr,
            detail::whole<std::uint64_t> round = 1)
      : handle(make(r, [&](const causerie_run *raw, causerie_dialogues **out) {
          return causerie_synthesize(detail::in(d), detail::in(s), detail::in(c), round.of("round"), detail::null_if_empty(journal, "journal"), raw, out);
        })) {}
  // With a teacher of your own, called `name`.
  dialogues(const dataset &d, const selection &s, const std::string &name, const teacher &ask, const config &c,
            const std::string &journal = {}, const run *r = nullptr, detail::whole<std::uint64_t> round = 1)
      : handle(make_with(d, s, name, ask, c, journal, r, round.of("round"))) {}
  // For a batch endpoint: the requests that can be made now and are not answered in `journal`, to `file`; returns how many, and
  // writes how many are answered already to `answered`, where it is given.
  static std::uint64_t export_requests(const dataset &d, const selection &s, const config &c, const std::string &journal,
                                       const std::string &file, const run *r = nullptr, std::uint64_t *answered = nullptr) {
    std::uint64_t requests = 0;
    detail::ask(r, [&](const causerie_run *raw) {
      return causerie_synthesize_export(detail::in(d), detail::in(s), detail::in(c), detail::zero_ended(journal, "journal"),
                                        detail::zero_ended(file, "file"), raw, &requests, answered);
    });
    return requests;
  }
  // A batch endpoint's answers into `journal`; returns how many requests are still without one, and writes how many answers were
  // taken to `taken`, where it is given.
  static std::uint64_t import_answers(const std::string &journal, const std::string &answers, const run *r = nullptr,
                                      std::uint64_t *taken = nullptr) {
    std::uint64_t missing = 0;
    detail::ask(r, [&](const causerie_run *raw) {
      return causerie_synthesize_import(detail::zero_ended(journal, "journal"), detail::zero_ended(answers, "answers"), raw, taken, &missing);
    });
    return missing;
  }
  // From a file, or from JSON lines in memory. `dropped`, where it is given, gets how many lines were no dialogues and passed over.
  static dialogues load(const std::string &file, std::size_t *dropped = nullptr) {
    return dialogues(make([&](causerie_dialogues **out) { return causerie_dialogues_load(detail::zero_ended(file, "file"), out, dropped); }));
  }
  static dialogues parse(std::string_view jsonl, std::size_t *dropped = nullptr) {
    return dialogues(make([&](causerie_dialogues **out) { return causerie_dialogues_parse(jsonl.data(), jsonl.size(), out, dropped); }));
  }
  std::size_t size() const {
    return told([](const causerie_dialogues *raw) { return causerie_dialogues_count(raw); });
  }
  // Dialogue `i` as JSON.
  std::string operator[](detail::index i) const {
    return told([&](const causerie_dialogues *raw) {
      return detail::text(causerie_dialogues_get(raw, detail::within(i, causerie_dialogues_count(raw), "dialogue")));
    });
  }
  dialogues &add(const dialogues &more) {
    change([&](causerie_dialogues *raw) { detail::check(causerie_dialogues_add(raw, detail::in(more))); });
    return *this;
  }
  std::string report() const {
    return told([](const causerie_dialogues *raw) { return detail::text(causerie_dialogues_report(raw)); });
  }
  void save(const std::string &file) const { detail::check(causerie_dialogues_save(use(), detail::zero_ended(file, "file"))); }

 private:
  explicit dialogues(owner raw) : handle(std::move(raw)) {}
  struct asking {
    explicit asking(const teacher &t) : ask(t) {}
    const teacher &ask;
    std::mutex mutex;
    std::exception_ptr thrown;  // the first; later ones are of a synthesis that ends already

    void keep(std::exception_ptr e) noexcept {
      const std::lock_guard<std::mutex> lock(mutex);
      if (!thrown) thrown = std::move(e);
    }
    std::exception_ptr take() noexcept {
      const std::lock_guard<std::mutex> lock(mutex);
      return std::exchange(thrown, nullptr);
    }
  };
  static std::int32_t tell(const causerie_request *request, causerie_answer *slot, void *data) noexcept {
    auto *self = static_cast<asking *>(data);
    try {
      try {
        const answer given = self->ask(*request);
        detail::check(causerie_answer_set(slot, given.text.data(), given.text.size(), given.prompt_tokens, given.completion_tokens));
      } catch (const teacher_failure &f) {
        const auto wait = static_cast<std::uint64_t>(std::max<std::int64_t>(f.retry_after_ms, 0));
        detail::check(causerie_answer_fail(slot, f.why, wait, f.message.data(), f.message.size()));
      }
      return 0;
    } catch (...) {
      self->keep(std::current_exception());
      return 1;
    }
  }
  static owner make_with(const dataset &d, const selection &s, const std::string &name, const teacher &ask, const config &c,
                         const std::string &journal, const run *r, std::uint64_t round) {
    if (!ask) throw invalid_error("teacher: an empty callable");
    asking state(ask);
    const detail::calling now(r);
    causerie_dialogues *out = nullptr;
    causerie_error *e = causerie_synthesize_with(detail::in(d), detail::in(s), detail::zero_ended(name, "teacher"), &dialogues::tell, &state,
                                                 detail::in(c), round, detail::null_if_empty(journal, "journal"), now.raw(), &out);
    owner made(out);
    if (const std::exception_ptr thrown = state.take()) {
      causerie_error_free(e);
      std::rethrow_exception(thrown);
    }
    now.end(e);
    return made;
  }
};

// 5 tune
class model : public detail::handle<causerie_model, causerie_model_free> {
 public:
  // A language model from nothing, of about so many parameters; with a `folder` then trained on the reviews by tune.*.
  static model fresh(const dataset &d, detail::whole<std::uint64_t> parameters, const std::string &file, const config &c,
                     const std::string &folder = {}, const run *r = nullptr) {
    return model(make(r, [&](const causerie_run *raw, causerie_model **out) {
      return causerie_model_new(detail::in(d), parameters.of("parameters"), detail::in(c), detail::zero_ended(file, "file"),
                                detail::null_if_empty(folder, "folder"), raw, out);
    }));
  }
  // A LoRA adapter in its base, as one GGUF of `kind` ("f32", "q8_0", …).
  static model merge(const std::string &base, const std::string &adapter, const std::string &kind, const std::string &file,
                     const run *r = nullptr) {
    return model(make(r, [&](const causerie_run *raw, causerie_model **out) {
      return causerie_model_merge(detail::zero_ended(base, "base"), detail::zero_ended(adapter, "adapter"), detail::zero_ended(kind, "kind"),
                                  detail::zero_ended(file, "file"), raw, out);
    }));
  }
  // A ranking head.
  model(const dialogues &t, const dataset &d, const embeddings &e, const config &c, const run *r = nullptr)
      : handle(make(r, [&](const causerie_run *raw, causerie_model **out) {
          return causerie_tune(detail::in(t), detail::in(d), detail::in(e), detail::in(c), raw, out);
        })) {}
  // A language model: LoRA or all weights of the GGUF `base`, into `folder`. With a dataset a ranking head may be trained
  // along (tune.objective).
  model(const dialogues &t, const std::string &base, const std::string &folder, const config &c, const run *r = nullptr,
        const dataset *d = nullptr)
      : handle(make(r, [&](const causerie_run *raw, causerie_model **out) {
          return causerie_tune_lm(detail::in(t), detail::in_or_null(d), detail::zero_ended(base, "base"), detail::zero_ended(folder, "folder"),
                                  detail::in(c), raw, out);
        })) {}
  static model load(const std::string &file) {
    return model(make([&](causerie_model **out) { return causerie_model_load(detail::zero_ended(file, "file"), out); }));
  }
  void save(const std::string &file) const { detail::check(causerie_model_save(use(), detail::zero_ended(file, "file"))); }
  std::string report() const {
    return told([](const causerie_model *raw) { return detail::text(causerie_model_report(raw)); });
  }
  // Of a language model: adapter.gguf or model.gguf; "" of a head.
  std::string file() const {
    return told([](const causerie_model *raw) { return detail::text(causerie_model_file(raw)); });
  }

 private:
  explicit model(owner raw) : handle(std::move(raw)) {}
};

// A review that speaks for an item: an excerpt, and its cosine to the query.
struct reason {
  std::string text;
  double similarity;
  std::uint64_t review;  // its row in the dataset
};

// One recommended item; reasons where recommend.explain or the request asks for them.
struct recommendation {
  std::string item, title;  // "Title (1999)"
  std::uint32_t year;       // 0: unknown
  std::uint64_t row;        // in the catalogue: what recommender::id takes
  double score;
  std::vector<reason> reasons;
};

enum class role : std::int32_t { user = CAUSERIE_USER, assistant = CAUSERIE_ASSISTANT };

// A request, built once and asked often; of no recommender. Kept between the turns of a conversation it grows by a turn at a
// time. Many threads may ask one at once; changing it beside that throws busy_error.
class query : public detail::handle<causerie_query, causerie_query_free> {
 public:
  query() : handle(make(&causerie_query_new)) {}
  // One turn of the user, in plain words. Words that are a request in JSON are invalid_error: `parse` reads those; `turn` takes
  // any words as they stand.
  explicit query(std::string_view words) : query() {
    if (is_request(words)) throw invalid_error("query: a request in JSON stands where plain words are meant: query::parse or recommend_json reads it");
    turn(role::user, words);
  }
  // Of JSON: the turns, [{"role", "text"}, …], or an object with masks, as of causerie_recommend.
  static query parse(std::string_view json) {
    return query(make([&](causerie_query **out) { return causerie_query_parse(json.data(), json.size(), out); }));
  }
  query &turn(role who, std::string_view words) { return turn(static_cast<std::int32_t>(who), words); }
  // `who`: CAUSERIE_USER or CAUSERIE_ASSISTANT.
  query &turn(std::int32_t who, std::string_view words) {
    detail::check(causerie_query_turn(use(), who, words.data(), words.size()));
    return *this;
  }
  query &seen(std::string_view id) {
    detail::check(causerie_query_seen(use(), id.data(), id.size()));
    return *this;
  }
  // By title; `year` 0: unknown.
  query &seen_title(std::string_view title, detail::whole<std::uint32_t> year = 0) {
    detail::check(causerie_query_seen_title(use(), title.data(), title.size(), year.of("year")));
    return *this;
  }
  query &exclude(std::string_view id) {
    detail::check(causerie_query_exclude(use(), id.data(), id.size()));
    return *this;
  }
  query &exclude_rows(span<std::uint64_t> rows) {
    detail::check(causerie_query_exclude_rows(use(), rows.data(), rows.size()));
    return *this;
  }
  query &allow(std::string_view id) {
    detail::check(causerie_query_allow(use(), id.data(), id.size()));
    return *this;
  }
  // {nullptr, 0} alone allows nothing.
  query &allow_rows(span<std::uint64_t> rows) {
    detail::check(causerie_query_allow_rows(use(), rows.data(), rows.size()));
    return *this;
  }
  // How many reviews each item is to come with.
  query &explain(detail::whole<std::uint32_t> reviews) {
    detail::check(causerie_query_explain(use(), reviews.of("explain", detail::most_items)));
    return *this;
  }
  query &clear() {
    detail::check(causerie_query_clear(use()));
    return *this;
  }

 private:
  explicit query(owner raw) : handle(std::move(raw)) {}
  static bool is_request(std::string_view words) {
    const auto first = words.find_first_not_of(" \t\r\n");
    if (first == std::string_view::npos || (words[first] != '[' && words[first] != '{')) return false;
    causerie_query *read = nullptr;
    causerie_error *e = causerie_query_parse(words.data(), words.size(), &read);
    causerie_query_free(read);
    causerie_error_free(e);
    return e == nullptr;
  }
};

// One answer, best first, read where the library keeps it: nothing is copied, and texts are made when they are first read.
// What it gives lives as long as the reply, and the reply longer than its recommender where need be.
class reply : public detail::handle<causerie_reply, causerie_reply_free> {
 public:
  // Takes it.
  explicit reply(causerie_reply *raw) : handle(owner(raw)) {}
  std::size_t size() const {
    return told([](const causerie_reply *raw) { return causerie_reply_count(raw); });
  }
  bool empty() const { return size() == 0; }
  // Rows in the catalogue: what recommender::id takes.
  span<std::uint64_t> rows() const & {
    return told([](const causerie_reply *raw) {
      std::size_t count = 0;
      const std::uint64_t *data = causerie_reply_rows(raw, &count);
      return span<std::uint64_t>(data, count);
    });
  }
  std::vector<std::uint64_t> rows() const && { return rows().copy(); }
  span<double> scores() const & {
    return told([](const causerie_reply *raw) {
      std::size_t count = 0;
      const double *data = causerie_reply_scores(raw, &count);
      return span<double>(data, count);
    });
  }
  std::vector<double> scores() const && { return scores().copy(); }
  std::string_view id(detail::index i) const & {
    return told([&](const causerie_reply *raw) { return detail::view(causerie_reply_item(raw, at(raw, i), nullptr)); });
  }
  std::string id(detail::index i) const && { return std::string(id(i)); }
  // "Title (1999)".
  std::string_view title(detail::index i) const & {
    return told([&](const causerie_reply *raw) { return detail::view(causerie_reply_title(raw, at(raw, i))); });
  }
  std::string title(detail::index i) const && { return std::string(title(i)); }
  // 0: unknown.
  std::uint32_t year(detail::index i) const {
    return told([&](const causerie_reply *raw) { return causerie_reply_year(raw, at(raw, i)); });
  }
  std::string_view text() const & {
    return told([](const causerie_reply *raw) { return detail::view(causerie_reply_text(raw)); });
  }
  std::string text() const && { return std::string(text()); }
  std::string_view json() const & {
    return told([](const causerie_reply *raw) { return detail::view(causerie_reply_json(raw)); });
  }
  std::string json() const && { return std::string(json()); }
  // The time was up before the search was: these are the items found by then.
  bool partial() const {
    return told([](const causerie_reply *raw) { return causerie_reply_partial(raw) != 0; });
  }
  // The conversation was longer than what the recommender reads.
  bool truncated() const {
    return told([](const causerie_reply *raw) { return causerie_reply_truncated(raw) != 0; });
  }
  // What is to be said of the answer, one sentence each.
  std::vector<std::string> warnings() const {
    return told([](const causerie_reply *raw) {
      std::vector<std::string> out;
      while (const char *warning = causerie_reply_warning(raw, out.size())) out.emplace_back(warning);
      return out;
    });
  }
  // Reviews that speak for item `i`, nearest to what was said first.
  std::vector<reason> reasons(detail::index i) const {
    return told([&](const causerie_reply *raw) {
      const std::size_t item = at(raw, i);
      std::vector<reason> out;
      double similarity = 0;
      for (std::size_t n = 0; const char *text = causerie_reply_evidence(raw, item, n, &similarity); ++n) {
        out.push_back({text, similarity, causerie_reply_evidence_row(raw, item, n)});
      }
      return out;
    });
  }
  // All of it, copied.
  std::vector<recommendation> items() const {
    std::vector<recommendation> out;
    const auto all = rows();
    const auto score = scores();
    for (std::size_t i = 0; i < all.size(); ++i) {
      out.push_back({std::string(id(i)), std::string(title(i)), year(i), all[i], score[i], reasons(i)});
    }
    return out;
  }

 private:
  friend class recommender;
  static std::size_t at(const causerie_reply *raw, detail::index i) { return detail::within(i, causerie_reply_count(raw), "item of the reply"); }
};

// 6 recommend. `const` members, and `add`, may run on many threads at once.
class recommender : public detail::handle<causerie_recommender, causerie_recommender_free> {
 public:
  // How many items; 0: recommend.top_k.
  using top = detail::whole<std::uint32_t>;

  // A finished work directory; `strategy` "": the first one of its run.
  static recommender open(const std::string &work_dir, const config &c, const run *r = nullptr, const std::string &strategy = {}) {
    return recommender(make(r, [&](const causerie_run *raw, causerie_recommender **out) {
      return causerie_recommender_open(detail::zero_ended(work_dir, "work_dir"), detail::null_if_empty(strategy, "strategy"), detail::in(c), raw, out);
    }));
  }
  // A language model over the catalogue of `d`.
  static recommender open_lm(const dataset &d, const std::string &gguf, const config &c, const std::string &adapter = {},
                             const run *r = nullptr) {
    return recommender(make(r, [&](const causerie_run *raw, causerie_recommender **out) {
      return causerie_recommender_open_lm(detail::in(d), detail::zero_ended(gguf, "model"), detail::null_if_empty(adapter, "adapter"),
                                          detail::in(c), raw, out);
    }));
  }
  // From what the stages made; what recommend.system does not need may be null.
  recommender(const dataset &d, const embeddings *e, const model *m, const dialogues *t, const config &c, const run *r = nullptr)
      : handle(make(r, [&](const causerie_run *raw, causerie_recommender **out) {
          return causerie_recommender_new(detail::in(d), detail::in_or_null(e), detail::in_or_null(m), detail::in_or_null(t), detail::in(c), raw, out);
        })) {}
  std::size_t size() const {
    return told([](const causerie_recommender *raw) { return causerie_recommender_count(raw); });
  }
  std::string id(detail::index i) const {
    return told([&](const causerie_recommender *raw) {
      return detail::text(causerie_recommender_id(raw, detail::within(i, causerie_recommender_count(raw), "item")));
    });
  }
  std::string name() const {
    return told([](const causerie_recommender *raw) { return detail::text(causerie_recommender_name(raw)); });
  }
  // Memory that it holds, about.
  std::uint64_t bytes() const {
    return told([](const causerie_recommender *raw) { return causerie_recommender_bytes(raw); });
  }
  // The row of an item by its id; throws not_found_error.
  std::uint64_t find(std::string_view id) const {
    std::uint64_t out = 0;
    detail::check(causerie_recommender_find(use(), id.data(), id.size(), &out));
    return out;
  }
  // The `top_k` best items.
  reply recommend(const query &q, top top_k = 0, const run *r = nullptr) const {
    return answered(r, [&](const causerie_run *raw, causerie_reply **out) {
      return causerie_recommend_query(use(), detail::in(q), items(top_k), raw, out);
    });
  }
  // Of plain words: one turn of the user, never JSON (which is invalid_error here: recommend_json and query::parse read it).
  reply recommend(std::string_view words, top top_k = 0, const run *r = nullptr) const { return recommend(query(words), top_k, r); }
  // Several queries in one call, which costs less than as many calls.
  std::vector<reply> recommend(const std::vector<const query *> &queries, top top_k = 0, const run *r = nullptr) const {
    const auto handles = raws(queries);
    std::vector<causerie_reply *> raw(queries.size());
    std::vector<reply> replies;
    replies.reserve(queries.size());
    const std::uint32_t k = items(top_k);
    const detail::calling now(r);
    causerie_error *e = causerie_recommend_many(use(), handles.data(), handles.size(), k, now.raw(), raw.data());
    if (e == nullptr) {
      for (causerie_reply *one : raw) replies.emplace_back(one);
    }
    now.end(e);
    return replies;
  }
  // A sentence about the best items of `answered_with`, in the language model's own words; `q` is what it answered.
  std::string say(const query &q, const reply &answered_with, const run *r = nullptr) const {
    return answered_with.lent([&](const causerie_reply *of, const char **out) {
      detail::ask(r, [&](const causerie_run *raw) { return causerie_recommender_say(use(), detail::in(q), of, raw, out); });
      return nullptr;
    });
  }
  // JSON in, as of query::parse, and JSON out, as of reply::json.
  std::string recommend_json(std::string_view request, top top_k = 0, const run *r = nullptr) const {
    return answered(r, [&](const causerie_run *raw, causerie_reply **out) {
             return causerie_recommend(use(), request.data(), request.size(), items(top_k), raw, out);
           }).json();
  }
  // Scores of the whole catalogue, [size()]; -infinity for what the query masks.
  std::vector<float> score(const query &q, const run *r = nullptr) const {
    return scored(1, r, [&](const causerie_run *raw, float *scores, std::size_t count) {
      return causerie_score_query(use(), detail::in(q), raw, scores, count);
    });
  }
  // Of plain words, as recommend.
  std::vector<float> score(std::string_view words, const run *r = nullptr) const { return score(query(words), r); }
  // Of several queries: [queries, size()], row-major.
  std::vector<float> score(const std::vector<const query *> &queries, const run *r = nullptr) const {
    const auto handles = raws(queries);
    return scored(handles.size(), r, [&](const causerie_run *raw, float *scores, std::size_t count) {
      return causerie_score_many(use(), handles.data(), handles.size(), raw, scores, count);
    });
  }
  // Of a request in JSON.
  std::vector<float> score_json(std::string_view request, const run *r = nullptr) const {
    return scored(1, r, [&](const causerie_run *raw, float *scores, std::size_t count) {
      return causerie_score(use(), request.data(), request.size(), raw, scores, count);
    });
  }
  // Adds items, JSON lines as of dataset::add, all or nothing, beside other calls; returns how many rows were bad and passed over.
  std::size_t add(std::string_view item_lines, const run *r = nullptr) {
    std::size_t dropped = 0;
    detail::ask(r, [&](const causerie_run *raw) { return causerie_recommender_add(use(), item_lines.data(), item_lines.size(), raw, &dropped); });
    return dropped;
  }
  // Of a language model: the number of the adapters that serve; others in the place of generation `expected` ("": none); those
  // before it back. The last two return the new number.
  std::uint64_t generation() const {
    std::uint64_t out = 0;
    detail::check(causerie_recommender_generation(use(), &out));
    return out;
  }
  std::uint64_t swap_adapter(detail::whole<std::uint64_t> expected, const std::string &adapter, float scale = 1.0F) const {
    std::uint64_t out = 0;
    detail::check(causerie_recommender_swap_adapter(use(), expected.of("expected"), detail::null_if_empty(adapter, "adapter"), scale, &out));
    return out;
  }
  std::uint64_t roll_back(detail::whole<std::uint64_t> expected) const {
    std::uint64_t out = 0;
    detail::check(causerie_recommender_roll_back(use(), expected.of("expected"), &out));
    return out;
  }

 private:
  explicit recommender(owner raw) : handle(std::move(raw)) {}
  static std::uint32_t items(top top_k) { return top_k.of("top_k", detail::most_items); }
  template <class Call>
  static reply answered(const run *r, const Call &call) {
    const detail::calling now(r);
    causerie_reply *out = nullptr;
    causerie_error *e = call(now.raw(), &out);
    reply made(out);
    now.end(e);
    return made;
  }
  // Scores into room for `rows` catalogues; again where items joined between the count and the call.
  template <class Call>
  std::vector<float> scored(std::size_t rows, const run *r, const Call &call) const {
    const detail::calling now(r);
    for (;;) {
      const std::size_t items = size();
      std::vector<float> scores(rows * items);
      causerie_error *e = call(now.raw(), scores.data(), scores.size());
      if (causerie_error_code(e) == CAUSERIE_INVALID && causerie_recommender_count(get()) > items) {
        causerie_error_free(e);
        continue;
      }
      now.end(e);
      return scores;
    }
  }
  static std::vector<const causerie_query *> raws(const std::vector<const query *> &queries) {
    std::vector<const causerie_query *> out;
    for (const auto *q : queries) out.push_back(detail::in_or_null(q));
    return out;
  }
};

// 7 evaluate
class report : public detail::handle<causerie_report, causerie_report_free> {
 public:
  // `conversations`: JSON lines; "": the files of evaluate.conversations.
  static report evaluate(const std::vector<const recommender *> &systems, std::string_view conversations, const config &c,
                         const run *r = nullptr) {
    std::vector<const causerie_recommender *> raws;
    for (const auto *system : systems) raws.push_back(detail::in_or_null(system));
    return report(make(r, [&](const causerie_run *raw, causerie_report **out) {
      return causerie_evaluate(raws.data(), raws.size(), conversations.data(), conversations.size(), detail::in(c), raw, out);
    }));
  }
  // The whole loop into `work_dir`; resumes.
  static report pipeline(const config &c, const std::string &work_dir, bool restart = false, const run *r = nullptr) {
    return report(make(r, [&](const causerie_run *raw, causerie_report **out) {
      return causerie_pipeline(detail::in(c), detail::zero_ended(work_dir, "work_dir"), restart ? 1 : 0, raw, out);
    }));
  }
  std::string json() const {
    return told([](const causerie_report *raw) { return detail::text(causerie_report_json(raw)); });
  }
  std::string html() const {
    return lent([](const causerie_report *raw, const char **out) { return causerie_report_html(raw, out); });
  }
  void save(const std::string &folder) const { detail::check(causerie_report_save(use(), detail::zero_ended(folder, "folder"))); }
  // Mean and standard error of "recall@10" and its like, items already mentioned removed.
  std::pair<double, double> metric(detail::index system, const std::string &name) const {
    double mean = 0, se = 0;
    detail::check(causerie_report_metric(use(), system.of("system"), detail::zero_ended(name, "metric"), &mean, &se));
    return {mean, se};
  }

 private:
  explicit report(owner raw) : handle(std::move(raw)) {}
};

}  // namespace causerie

#endif  // CAUSERIE_HPP
