// causerie.hpp: the C API as C++17. Header-only; link as for causerie.h.
//
// Handles are move-only and end themselves. A call that fails throws causerie::error (code and message). Texts go in as
// std::string_view. Callbacks are any callable; an exception thrown in one ends the call and comes out of it.
#ifndef CAUSERIE_HPP
#define CAUSERIE_HPP

#include <causerie.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace causerie {

// What a call failed with: a code (CAUSERIE_INVALID …) and what() to read.
class error : public std::runtime_error {
 public:
  error(std::int32_t code, const std::string &message) : std::runtime_error(message), code_(code) {}
  std::int32_t code() const noexcept { return code_; }

 private:
  std::int32_t code_;
};

namespace detail {

// Throws what the call failed with.
inline void check(causerie_error *e) {
  if (e == nullptr) return;
  const error thrown(causerie_error_code(e), causerie_error_message(e));
  causerie_error_free(e);
  throw thrown;
}

template <class T, void (*Free)(T *)>
struct deleter {
  void operator()(T *handle) const noexcept { Free(handle); }
};

// A handle that ends itself: move-only. `get()` is the C handle, for what C++ does not wrap.
template <class T, void (*Free)(T *)>
class handle {
 public:
  explicit handle(T *raw) noexcept : raw_(raw) {}
  T *get() const noexcept { return raw_.get(); }

 private:
  std::unique_ptr<T, deleter<T, Free>> raw_;
};

inline std::string text(const char *borrowed) { return borrowed == nullptr ? std::string() : std::string(borrowed); }
inline const char *null_if_empty(const std::string &s) { return s.empty() ? nullptr : s.c_str(); }

}  // namespace detail

// A view of values that a handle owns; it lives as long as the handle.
template <class T>
class span {
 public:
  span(const T *data, std::size_t size) noexcept : data_(data), size_(size) {}
  const T *data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  const T *begin() const noexcept { return data_; }
  const T *end() const noexcept { return data_ == nullptr ? nullptr : data_ + size_; }
  const T &operator[](std::size_t i) const { return data_[i]; }

 private:
  const T *data_;
  std::size_t size_;
};

// "causerie/0.1.0 …" of the library that is linked.
inline std::string version() { return causerie_version(); }
// Throws when the library linked does not fit this header.
inline void check_version() { detail::check(causerie_check_version(CAUSERIE_VERSION, CAUSERIE_ABI)); }

// The settings of every stage.
class config : public detail::handle<causerie_config, causerie_config_free> {
 public:
  config() : handle(make()) {}
  explicit config(std::string_view toml) : config() { read(toml); }
  config &set(const std::string &key, const std::string &value) {
    detail::check(causerie_config_set(get(), key.c_str(), value.c_str()));
    return *this;
  }
  config &read(std::string_view toml) {
    detail::check(causerie_config_read(get(), toml.data(), toml.size()));
    return *this;
  }
  std::string value(const std::string &key) const {
    const char *out = nullptr;
    detail::check(causerie_config_get(get(), key.c_str(), &out));
    return detail::text(out);
  }
  std::string toml() const {
    const char *out = nullptr;
    detail::check(causerie_config_toml(get(), &out));
    return detail::text(out);
  }

 private:
  static causerie_config *make() {
    causerie_config *out = nullptr;
    detail::check(causerie_config_new(&out));
    return out;
  }
};

// One call under way. `on_progress` gets each report, `on_token` the text that a language model writes ("" at the end of an
// answer); false stops the call. An exception that one of them throws stops the call too, and comes out of it.
class run {
 public:
  using progress_fn = std::function<bool(const causerie_progress &)>;
  using token_fn = std::function<bool(std::string_view)>;

  explicit run(std::uint32_t threads = 0, progress_fn on_progress = {}) : state_(std::make_unique<state>()), raw_(make(threads)) {
    if (on_progress) {
      state_->callback = std::move(on_progress);
      detail::check(causerie_run_on_progress(raw_.get(), &run::tell, state_.get()));
    }
  }
  // Between calls; an empty callable takes it back.
  run &on_token(token_fn callback) {
    state_->reader = std::move(callback);
    detail::check(causerie_run_on_token(raw_.get(), state_->reader ? &run::read : nullptr, state_.get()));
    return *this;
  }
  // Ends the calls under way: from any thread, at any time.
  void cancel() const noexcept { causerie_run_cancel(raw_.get()); }
  void reset() const noexcept { causerie_run_reset(raw_.get()); }
  causerie_progress poll() const {
    causerie_progress out{};
    detail::check(causerie_run_poll(raw_.get(), &out, sizeof out));
    return out;
  }
  const causerie_run *get() const noexcept { return raw_.get(); }
  // Throws what a callback threw, else what the call failed with.
  void check(causerie_error *e) const {
    if (e != nullptr) {
      // Of calls at the same time the first takes what was thrown; the others fail as cancelled.
      if (std::exception_ptr thrown = state_->take()) {
        causerie_error_free(e);
        causerie_run_reset(raw_.get());
        std::rethrow_exception(std::move(thrown));
      }
    }
    detail::check(e);
  }

 private:
  struct state {
    progress_fn callback;
    token_fn reader;
    std::mutex mutex;
    std::exception_ptr thrown;

    void keep(std::exception_ptr e) {
      const std::lock_guard<std::mutex> lock(mutex);
      if (!thrown) thrown = std::move(e);
    }
    std::exception_ptr take() {
      const std::lock_guard<std::mutex> lock(mutex);
      return std::exchange(thrown, nullptr);
    }
  };
  static causerie_run *make(std::uint32_t threads) {
    causerie_run *out = nullptr;
    detail::check(causerie_run_new(threads, &out));
    return out;
  }
  static std::int32_t tell(const causerie_progress *progress, void *data) noexcept {
    auto *self = static_cast<state *>(data);
    try {
      return self->callback(*progress) ? 0 : 1;
    } catch (...) {
      self->keep(std::current_exception());
      return 1;
    }
  }
  static std::int32_t read(const char *text, std::size_t size, void *data) noexcept {
    auto *self = static_cast<state *>(data);
    try {
      return self->reader(std::string_view(text, size)) ? 0 : 1;
    } catch (...) {
      self->keep(std::current_exception());
      return 1;
    }
  }
  std::unique_ptr<state> state_;  // stays where it is when the run is moved
  detail::handle<causerie_run, causerie_run_free> raw_;
};

namespace detail {
inline const causerie_run *raw(const run *r) { return r == nullptr ? nullptr : r->get(); }
inline void check(const run *r, causerie_error *e) {
  if (r != nullptr) {
    r->check(e);
  } else {
    check(e);
  }
}
}  // namespace detail

enum class table : std::int32_t { items = CAUSERIE_ITEMS, reviews = CAUSERIE_REVIEWS, interactions = CAUSERIE_INTERACTIONS };

// 1 load
class dataset : public detail::handle<causerie_dataset, causerie_dataset_free> {
 public:
  explicit dataset(const config &c) : handle(make(c)) {}
  static dataset import(const config &c, const run *r = nullptr) {
    causerie_dataset *out = nullptr;
    detail::check(r, causerie_dataset_import(c.get(), detail::raw(r), &out));
    return dataset(out);
  }
  static dataset load(const std::string &folder, const config &c) {
    causerie_dataset *out = nullptr;
    detail::check(causerie_dataset_load(folder.c_str(), c.get(), &out));
    return dataset(out);
  }
  void save(const std::string &folder) const { detail::check(causerie_dataset_save(get(), folder.c_str())); }
  dataset &add(table t, std::string_view lines) {
    detail::check(causerie_dataset_add(get(), static_cast<std::int32_t>(t), lines.data(), lines.size()));
    return *this;
  }
  dataset &add_file(table t, const std::string &path, const run *r = nullptr) {
    detail::check(r, causerie_dataset_add_file(get(), static_cast<std::int32_t>(t), path.c_str(), detail::raw(r)));
    return *this;
  }
  // Takes both structs.
  dataset &add(table t, ArrowSchema *schema, ArrowArray *array) {
    detail::check(causerie_dataset_add_arrow(get(), static_cast<std::int32_t>(t), schema, array));
    return *this;
  }
  // Takes the stream.
  dataset &add(table t, ArrowArrayStream *stream, const run *r = nullptr) {
    detail::check(r, causerie_dataset_add_arrow_stream(get(), static_cast<std::int32_t>(t), stream, detail::raw(r)));
    return *this;
  }
  std::size_t count(table t) const noexcept { return causerie_dataset_count(get(), static_cast<std::int32_t>(t)); }
  std::string title(std::size_t i) const { return detail::text(causerie_dataset_title(get(), i)); }
  std::string report() const {
    const char *out = nullptr;
    detail::check(causerie_dataset_report(get(), &out));
    return detail::text(out);
  }

 private:
  explicit dataset(causerie_dataset *raw) : handle(raw) {}
  static causerie_dataset *make(const config &c) {
    causerie_dataset *out = nullptr;
    detail::check(causerie_dataset_new(c.get(), &out));
    return out;
  }
};

inline void simulate(const config &c, const std::string &folder, const run *r = nullptr) {
  detail::check(r, causerie_simulate(c.get(), folder.c_str(), detail::raw(r)));
}

// 2 embed
class embeddings : public detail::handle<causerie_embeddings, causerie_embeddings_free> {
 public:
  // `folder` keeps rows and embedder, so that it goes on where it was stopped; "" keeps nothing.
  embeddings(const dataset &d, const config &c, const std::string &folder = {}, const run *r = nullptr)
      : handle(make(d, c, folder, r)) {}
  static embeddings from_rows(const float *data, std::size_t rows, std::size_t dim) {
    causerie_embeddings *out = nullptr;
    detail::check(causerie_embeddings_from_rows(data, rows, dim, &out));
    return embeddings(out);
  }
  // Rows too many for memory, mapped from a safetensors file or a list of shards: for selecting.
  static embeddings open(const std::string &file) {
    causerie_embeddings *out = nullptr;
    detail::check(causerie_embeddings_open(file.c_str(), &out));
    return embeddings(out);
  }
  // The reviews of shard `index` of `count` alone, into `folder`; returns how many shards are still to be made. Once all lie
  // in the folder, its embeddings.json lists them, for `open`.
  static std::size_t shard(const dataset &d, const config &c, const std::string &folder, std::size_t index, std::size_t count,
                           const run *r = nullptr) {
    std::size_t missing = 0;
    detail::check(r, causerie_embed_shard(d.get(), c.get(), folder.c_str(), index, count, detail::raw(r), &missing));
    return missing;
  }
  // Lists shards that were brought together in `folder`; returns how many are not there.
  static std::size_t join(const std::string &folder, std::size_t count) {
    std::size_t missing = 0;
    detail::check(causerie_embed_join(folder.c_str(), count, &missing));
    return missing;
  }
  std::size_t rows() const noexcept { return shape().first; }
  std::size_t dim() const noexcept { return shape().second; }
  // [rows, dim], row-major; empty for mapped rows.
  span<float> data() const noexcept {
    const auto s = shape();
    const float *values = causerie_embeddings_data(get(), nullptr, nullptr);
    return {values, values == nullptr ? 0 : s.first * s.second};
  }
  void save(const std::string &file) const { detail::check(causerie_embeddings_save(get(), file.c_str())); }
  // `store`: "f32", "f16" or "i8".
  void pack(const std::string &store, const std::string &file, const run *r = nullptr) const {
    detail::check(r, causerie_embeddings_pack(get(), store.c_str(), file.c_str(), detail::raw(r)));
  }

 private:
  explicit embeddings(causerie_embeddings *raw) : handle(raw) {}
  std::pair<std::size_t, std::size_t> shape() const noexcept {
    std::size_t rows = 0, dim = 0;
    causerie_embeddings_data(get(), &rows, &dim);
    return {rows, dim};
  }
  static causerie_embeddings *make(const dataset &d, const config &c, const std::string &folder, const run *r) {
    causerie_embeddings *out = nullptr;
    detail::check(r, causerie_embed(d.get(), c.get(), detail::null_if_empty(folder), detail::raw(r), &out));
    return out;
  }
};

// 3 select
class selection : public detail::handle<causerie_selection, causerie_selection_free> {
 public:
  // `d` may be null for "random", "js" and "fisher" without caps; `earlier`: a selection to continue; `checkpoint`: a file
  // that keeps the picks so far, "": none.
  selection(const dataset *d, const embeddings &e, const config &c, const run *r = nullptr, const selection *earlier = nullptr,
            const std::string &checkpoint = {})
      : handle(make(d, e, c, r, earlier, checkpoint)) {}
  // Writes the centres of K-means over all rows to a file, for select.centers: the JS strategies then select on them.
  static void centers(const dataset *d, const embeddings &e, const config &c, const std::string &file, const run *r = nullptr) {
    detail::check(r, causerie_select_centers(d == nullptr ? nullptr : d->get(), e.get(), c.get(), detail::raw(r), file.c_str()));
  }
  // A selection that several machines share: each part writes its picks to a file, `merge` lays the files together, and
  // `finalise` selects from them.
  static void part(const dataset *d, const embeddings &e, std::uint64_t number, std::uint64_t of, const config &c,
                   const std::string &file, const run *r = nullptr) {
    detail::check(r, causerie_select_part(d == nullptr ? nullptr : d->get(), e.get(), number, of, c.get(), detail::raw(r), file.c_str()));
  }
  static void merge(const std::vector<std::string> &files, const std::string &merged) {
    std::vector<const char *> names;
    for (const auto &file : files) names.push_back(file.c_str());
    detail::check(causerie_select_merge(names.data(), names.size(), merged.c_str()));
  }
  static selection finalise(const dataset *d, const embeddings &e, const std::string &merged, const config &c, const run *r = nullptr) {
    causerie_selection *out = nullptr;
    detail::check(r, causerie_select_finalise(d == nullptr ? nullptr : d->get(), e.get(), merged.c_str(), c.get(), detail::raw(r), &out));
    return selection(out);
  }
  static selection load(const std::string &file) {
    causerie_selection *out = nullptr;
    detail::check(causerie_selection_load(file.c_str(), &out));
    return selection(out);
  }
  span<std::uint64_t> rows() const noexcept {
    std::size_t count = 0;
    const auto *data = causerie_selection_rows(get(), &count);
    return {data, count};
  }
  span<double> gains() const noexcept {
    std::size_t count = 0;
    const auto *data = causerie_selection_gains(get(), &count);
    return {data, count};
  }
  std::string report() const { return detail::text(causerie_selection_report(get())); }
  void save(const std::string &file) const { detail::check(causerie_selection_save(get(), file.c_str())); }

 private:
  explicit selection(causerie_selection *raw) : handle(raw) {}
  static causerie_selection *make(const dataset *d, const embeddings &e, const config &c, const run *r, const selection *earlier,
                                  const std::string &checkpoint) {
    causerie_selection *out = nullptr;
    detail::check(r, causerie_select_keeping(d == nullptr ? nullptr : d->get(), e.get(), earlier == nullptr ? nullptr : earlier->get(),
                                             detail::null_if_empty(checkpoint), c.get(), detail::raw(r), &out));
    return out;
  }
};

// What a teacher of yours answers.
struct answer {
  std::string text;
  std::uint64_t prompt_tokens = 0, completion_tokens = 0;
};
// Thrown by a teacher: no answer this time. `why` is CAUSERIE_FAIL_….
struct teacher_failure {
  std::int32_t why;
  std::string message;
  std::uint64_t retry_after_ms = 0;
};
// Called on up to synthesize.in_flight threads at once. An exception other than teacher_failure ends the synthesis and
// comes out of it.
using teacher = std::function<answer(const causerie_request &)>;

// 4 synthesize
class dialogues : public detail::handle<causerie_dialogues, causerie_dialogues_free> {
 public:
  // With the teacher of the settings. `journal` keeps requests and answers; "" keeps nothing.
  dialogues(const dataset &d, const selection &s, const config &c, const std::string &journal = {}, const run *r = nullptr,
            std::uint64_t round = 1)
      : handle(make(d, s, c, journal, r, round)) {}
  // With a teacher of your own, called `name`.
  dialogues(const dataset &d, const selection &s, const std::string &name, const teacher &ask, const config &c,
            const std::string &journal = {}, const run *r = nullptr, std::uint64_t round = 1)
      : handle(make_with(d, s, name, ask, c, journal, r, round)) {}
  // For a batch endpoint: the requests that can be made now and are not answered in `journal`, to `file`; returns how many.
  static std::uint64_t export_requests(const dataset &d, const selection &s, const config &c, const std::string &journal,
                                       const std::string &file, const run *r = nullptr) {
    std::uint64_t requests = 0;
    detail::check(r, causerie_synthesize_export(d.get(), s.get(), c.get(), journal.c_str(), file.c_str(), detail::raw(r), &requests, nullptr));
    return requests;
  }
  // A batch endpoint's answers into `journal`; returns how many requests are still without one.
  static std::uint64_t import_answers(const std::string &journal, const std::string &answers, const run *r = nullptr) {
    std::uint64_t missing = 0;
    detail::check(r, causerie_synthesize_import(journal.c_str(), answers.c_str(), detail::raw(r), nullptr, &missing));
    return missing;
  }
  static dialogues load(const std::string &file) {
    causerie_dialogues *out = nullptr;
    detail::check(causerie_dialogues_load(file.c_str(), &out));
    return dialogues(out);
  }
  std::size_t size() const noexcept { return causerie_dialogues_count(get()); }
  // Dialogue `i` as JSON.
  std::string operator[](std::size_t i) const { return detail::text(causerie_dialogues_get(get(), i)); }
  dialogues &add(const dialogues &more) {
    detail::check(causerie_dialogues_add(get(), more.get()));
    return *this;
  }
  std::string report() const { return detail::text(causerie_dialogues_report(get())); }
  void save(const std::string &file) const { detail::check(causerie_dialogues_save(get(), file.c_str())); }

 private:
  explicit dialogues(causerie_dialogues *raw) : handle(raw) {}
  static causerie_dialogues *make(const dataset &d, const selection &s, const config &c, const std::string &journal,
                                  const run *r, std::uint64_t round) {
    causerie_dialogues *out = nullptr;
    detail::check(r, causerie_synthesize(d.get(), s.get(), c.get(), round, detail::null_if_empty(journal), detail::raw(r), &out));
    return out;
  }
  struct asking {
    explicit asking(const teacher &t) : ask(t) {}
    const teacher &ask;
    std::mutex mutex;
    std::exception_ptr thrown;

    void keep(std::exception_ptr e) {
      const std::lock_guard<std::mutex> lock(mutex);
      if (!thrown) thrown = std::move(e);
    }
    std::exception_ptr take() {
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
        detail::check(causerie_answer_fail(slot, f.why, f.retry_after_ms, f.message.data(), f.message.size()));
      }
      return 0;
    } catch (...) {
      self->keep(std::current_exception());
      return 1;
    }
  }
  static causerie_dialogues *make_with(const dataset &d, const selection &s, const std::string &name, const teacher &ask,
                                       const config &c, const std::string &journal, const run *r, std::uint64_t round) {
    causerie_dialogues *out = nullptr;
    asking state(ask);
    causerie_error *e = causerie_synthesize_with(d.get(), s.get(), name.c_str(), &dialogues::tell, &state, c.get(), round,
                                                 detail::null_if_empty(journal), detail::raw(r), &out);
    if (e != nullptr) {
      if (std::exception_ptr thrown = state.take()) {
        causerie_error_free(e);
        std::rethrow_exception(std::move(thrown));
      }
    }
    detail::check(r, e);
    return out;
  }
};

// 5 tune
class model : public detail::handle<causerie_model, causerie_model_free> {
 public:
  // A language model from nothing, of about so many parameters; with a `folder` then trained on the reviews by tune.*.
  static model fresh(const dataset &d, std::uint64_t parameters, const std::string &file, const config &c,
                     const std::string &folder = {}, const run *r = nullptr) {
    causerie_model *out = nullptr;
    detail::check(r, causerie_model_new(d.get(), parameters, c.get(), file.c_str(), detail::null_if_empty(folder), detail::raw(r), &out));
    return model(out);
  }
  // A LoRA adapter in its base, as one GGUF of `kind` ("f32", "q8_0", …).
  static model merge(const std::string &base, const std::string &adapter, const std::string &kind, const std::string &file,
                     const run *r = nullptr) {
    causerie_model *out = nullptr;
    detail::check(r, causerie_model_merge(base.c_str(), adapter.c_str(), kind.c_str(), file.c_str(), detail::raw(r), &out));
    return model(out);
  }
  // A ranking head.
  model(const dialogues &t, const dataset &d, const embeddings &e, const config &c, const run *r = nullptr)
      : handle(make(t, d, e, c, r)) {}
  // A language model: LoRA or all weights of the GGUF `base`, into `folder`. With a dataset a ranking head may be trained
  // along (tune.objective).
  model(const dialogues &t, const std::string &base, const std::string &folder, const config &c, const run *r = nullptr,
        const dataset *d = nullptr)
      : handle(make_lm(t, base, folder, c, r, d)) {}
  static model load(const std::string &file) {
    causerie_model *out = nullptr;
    detail::check(causerie_model_load(file.c_str(), &out));
    return model(out);
  }
  void save(const std::string &file) const { detail::check(causerie_model_save(get(), file.c_str())); }
  std::string report() const { return detail::text(causerie_model_report(get())); }
  // Of a language model: adapter.gguf or model.gguf; "" of a head.
  std::string file() const { return detail::text(causerie_model_file(get())); }

 private:
  explicit model(causerie_model *raw) : handle(raw) {}
  static causerie_model *make(const dialogues &t, const dataset &d, const embeddings &e, const config &c, const run *r) {
    causerie_model *out = nullptr;
    detail::check(r, causerie_tune(t.get(), d.get(), e.get(), c.get(), detail::raw(r), &out));
    return out;
  }
  static causerie_model *make_lm(const dialogues &t, const std::string &base, const std::string &folder, const config &c,
                                 const run *r, const dataset *d) {
    causerie_model *out = nullptr;
    detail::check(r, causerie_tune_lm(t.get(), d == nullptr ? nullptr : d->get(), base.c_str(), folder.c_str(), c.get(), detail::raw(r), &out));
    return out;
  }
};

// A review that speaks for an item: an excerpt, and its cosine to the query.
struct reason {
  std::string text;
  double similarity;
  std::uint64_t review;  // its row in the dataset
};

// One recommended item; reasons where recommend.explain or the request asks for them.
struct recommendation {
  std::string item, title;
  double score;
  std::vector<reason> reasons;
};

// A request, built once and asked often; of no recommender. Kept between the turns of a conversation it grows by a turn at a
// time. Many threads may ask one that is not changed meanwhile.
class query : public detail::handle<causerie_query, causerie_query_free> {
 public:
  query() : handle(make()) {}
  // With one turn of the user.
  explicit query(std::string_view words) : query() { turn(CAUSERIE_USER, words); }
  // Of JSON, as of causerie_recommend.
  static query parse(std::string_view json) {
    causerie_query *out = nullptr;
    detail::check(causerie_query_parse(json.data(), json.size(), &out));
    return query(out);
  }
  // `role`: CAUSERIE_USER or CAUSERIE_ASSISTANT.
  query &turn(std::int32_t role, std::string_view words) {
    detail::check(causerie_query_turn(get(), role, words.data(), words.size()));
    return *this;
  }
  query &seen(std::string_view id) {
    detail::check(causerie_query_seen(get(), id.data(), id.size()));
    return *this;
  }
  // By title; `year` 0: unknown.
  query &seen_title(std::string_view title, std::uint32_t year = 0) {
    detail::check(causerie_query_seen_title(get(), title.data(), title.size(), year));
    return *this;
  }
  query &exclude(std::string_view id) {
    detail::check(causerie_query_exclude(get(), id.data(), id.size()));
    return *this;
  }
  query &exclude_rows(span<std::uint64_t> rows) {
    detail::check(causerie_query_exclude_rows(get(), rows.data(), rows.size()));
    return *this;
  }
  query &allow(std::string_view id) {
    detail::check(causerie_query_allow(get(), id.data(), id.size()));
    return *this;
  }
  // {nullptr, 0} alone allows nothing.
  query &allow_rows(span<std::uint64_t> rows) {
    detail::check(causerie_query_allow_rows(get(), rows.data(), rows.size()));
    return *this;
  }
  query &explain(std::uint32_t reviews) {
    detail::check(causerie_query_explain(get(), reviews));
    return *this;
  }
  query &clear() {
    detail::check(causerie_query_clear(get()));
    return *this;
  }

 private:
  explicit query(causerie_query *raw) : handle(raw) {}
  static causerie_query *make() {
    causerie_query *out = nullptr;
    detail::check(causerie_query_new(&out));
    return out;
  }
};

// One answer, best first, read where the library keeps it: nothing is copied, and texts are made when they are first read.
// What it gives lives as long as the reply, and the reply longer than its recommender where need be.
class reply : public detail::handle<causerie_reply, causerie_reply_free> {
 public:
  explicit reply(causerie_reply *raw) : handle(raw) {}
  std::size_t size() const noexcept { return causerie_reply_count(get()); }
  bool empty() const noexcept { return size() == 0; }
  // Rows in the catalogue: what recommender::id takes.
  span<std::uint64_t> rows() const noexcept {
    std::size_t count = 0;
    const std::uint64_t *data = causerie_reply_rows(get(), &count);
    return {data, count};
  }
  span<double> scores() const noexcept {
    std::size_t count = 0;
    const double *data = causerie_reply_scores(get(), &count);
    return {data, count};
  }
  std::string_view id(std::size_t i) const noexcept { return view(causerie_reply_item(get(), i, nullptr)); }
  std::string_view title(std::size_t i) const noexcept { return view(causerie_reply_title(get(), i)); }
  std::string_view text() const noexcept { return view(causerie_reply_text(get())); }
  std::string_view json() const noexcept { return view(causerie_reply_json(get())); }
  // The time was up before the search was: these are the items found by then.
  bool partial() const noexcept { return causerie_reply_partial(get()) != 0; }
  // The conversation was longer than what the recommender reads.
  bool truncated() const noexcept { return causerie_reply_truncated(get()) != 0; }
  // What is to be said of the answer, one sentence each.
  std::vector<std::string> warnings() const {
    std::vector<std::string> out;
    while (const char *warning = causerie_reply_warning(get(), out.size())) out.emplace_back(warning);
    return out;
  }
  // Reviews that speak for item `i`, nearest to what was said first.
  std::vector<reason> reasons(std::size_t i) const {
    std::vector<reason> out;
    double similarity = 0;
    for (std::size_t n = 0; const char *text = causerie_reply_evidence(get(), i, n, &similarity); ++n) {
      out.push_back({text, similarity, causerie_reply_evidence_row(get(), i, n)});
    }
    return out;
  }
  // All of it, copied.
  std::vector<recommendation> items() const {
    std::vector<recommendation> out;
    const auto scores = this->scores();
    for (std::size_t i = 0; i < scores.size(); ++i) {
      out.push_back({std::string(id(i)), std::string(title(i)), scores[i], reasons(i)});
    }
    return out;
  }

 private:
  static std::string_view view(const char *borrowed) noexcept {
    return borrowed == nullptr ? std::string_view() : std::string_view(borrowed);
  }
};

// 6 recommend. `const` members may run on many threads at once.
class recommender : public detail::handle<causerie_recommender, causerie_recommender_free> {
 public:
  // A finished work directory; `strategy` "": the first one of its run.
  static recommender open(const std::string &work_dir, const config &c, const run *r = nullptr, const std::string &strategy = {}) {
    causerie_recommender *out = nullptr;
    detail::check(r, causerie_recommender_open(work_dir.c_str(), detail::null_if_empty(strategy), c.get(), detail::raw(r), &out));
    return recommender(out);
  }
  // A language model over the catalogue of `d`.
  static recommender open_lm(const dataset &d, const std::string &gguf, const config &c, const std::string &adapter = {},
                             const run *r = nullptr) {
    causerie_recommender *out = nullptr;
    detail::check(r, causerie_recommender_open_lm(d.get(), gguf.c_str(), detail::null_if_empty(adapter), c.get(), detail::raw(r), &out));
    return recommender(out);
  }
  // From what the stages made; what recommend.system does not need may be null.
  recommender(const dataset &d, const embeddings *e, const model *m, const dialogues *t, const config &c, const run *r = nullptr)
      : handle(make(d, e, m, t, c, r)) {}
  std::size_t size() const noexcept { return causerie_recommender_count(get()); }
  std::string id(std::size_t i) const { return detail::text(causerie_recommender_id(get(), i)); }
  std::string name() const { return detail::text(causerie_recommender_name(get())); }
  // Memory that it holds, about.
  std::uint64_t bytes() const noexcept { return causerie_recommender_bytes(get()); }
  // The row of an item by its id; throws CAUSERIE_NOT_FOUND.
  std::uint64_t find(std::string_view id) const {
    std::uint64_t out = 0;
    detail::check(causerie_recommender_find(get(), id.data(), id.size(), &out));
    return out;
  }
  // The `top_k` best items (0: recommend.top_k).
  reply recommend(const query &q, std::uint32_t top_k = 0, const run *r = nullptr) const {
    causerie_reply *raw = nullptr;
    detail::check(r, causerie_recommend_query(get(), q.get(), top_k, detail::raw(r), &raw));
    return reply(raw);
  }
  // The same for several queries in one call, which costs less than as many calls.
  std::vector<reply> recommend(const std::vector<const query *> &queries, std::uint32_t top_k = 0, const run *r = nullptr) const {
    const auto handles = raws(queries);
    std::vector<reply> replies;
    replies.reserve(queries.size());
    std::vector<causerie_reply *> raw(queries.size());
    detail::check(r, causerie_recommend_many(get(), handles.data(), handles.size(), top_k, detail::raw(r), raw.data()));
    for (causerie_reply *one : raw) replies.emplace_back(one);
    return replies;
  }
  // A sentence about the best items of `answer`, in the language model's own words; `q` is what it answered.
  std::string say(const query &q, const reply &answer, const run *r = nullptr) const {
    const char *out = nullptr;
    detail::check(r, causerie_recommender_say(get(), q.get(), answer.get(), detail::raw(r), &out));
    return detail::text(out);
  }
  // Of a request in JSON, as of causerie_recommend, copied.
  std::vector<recommendation> recommend(std::string_view request, std::uint32_t top_k = 0, const run *r = nullptr) const {
    return ask(request, top_k, r).items();
  }
  // JSON in, JSON out, as of causerie_reply_json.
  std::string recommend_json(std::string_view request, std::uint32_t top_k = 0, const run *r = nullptr) const {
    return std::string(ask(request, top_k, r).json());
  }
  // Scores of the whole catalogue, [size()]; -infinity for what the query masks.
  std::vector<float> score(const query &q, const run *r = nullptr) const {
    return scored(1, r, [&](float *scores, std::size_t count) { return causerie_score_query(get(), q.get(), detail::raw(r), scores, count); });
  }
  // Of several queries: [queries, size()], row-major.
  std::vector<float> score(const std::vector<const query *> &queries, const run *r = nullptr) const {
    const auto handles = raws(queries);
    return scored(handles.size(), r, [&](float *scores, std::size_t count) {
      return causerie_score_many(get(), handles.data(), handles.size(), detail::raw(r), scores, count);
    });
  }
  // Of a request in JSON.
  std::vector<float> score(std::string_view request, const run *r = nullptr) const {
    return scored(1, r, [&](float *scores, std::size_t count) {
      return causerie_score(get(), request.data(), request.size(), detail::raw(r), scores, count);
    });
  }
  // May run beside other calls.
  recommender &add(std::string_view item_lines, const run *r = nullptr) {
    detail::check(r, causerie_recommender_add(get(), item_lines.data(), item_lines.size(), detail::raw(r)));
    return *this;
  }
  std::uint64_t generation() const {
    std::uint64_t out = 0;
    detail::check(causerie_recommender_generation(get(), &out));
    return out;
  }
  std::uint64_t swap_adapter(std::uint64_t expected, const std::string &adapter, float scale = 1.0F) const {
    std::uint64_t out = 0;
    detail::check(causerie_recommender_swap_adapter(get(), expected, detail::null_if_empty(adapter), scale, &out));
    return out;
  }
  std::uint64_t roll_back(std::uint64_t expected) const {
    std::uint64_t out = 0;
    detail::check(causerie_recommender_roll_back(get(), expected, &out));
    return out;
  }

 private:
  explicit recommender(causerie_recommender *raw) : handle(raw) {}
  // Scores into room for `rows` catalogues; once more where items joined between the count and the call.
  template <class Call>
  std::vector<float> scored(std::size_t rows, const run *r, const Call &call) const {
    const std::size_t items = size();
    std::vector<float> scores(rows * items);
    causerie_error *e = call(scores.data(), scores.size());
    if (causerie_error_code(e) == CAUSERIE_INVALID) {
      if (const std::size_t now = size(); now != items) {
        causerie_error_free(e);
        scores.assign(rows * now, 0);
        e = call(scores.data(), scores.size());
      }
    }
    detail::check(r, e);
    return scores;
  }
  reply ask(std::string_view request, std::uint32_t top_k, const run *r) const {
    causerie_reply *raw = nullptr;
    detail::check(r, causerie_recommend(get(), request.data(), request.size(), top_k, detail::raw(r), &raw));
    return reply(raw);
  }
  static std::vector<const causerie_query *> raws(const std::vector<const query *> &queries) {
    std::vector<const causerie_query *> out;
    for (const auto *q : queries) out.push_back(q == nullptr ? nullptr : q->get());
    return out;
  }
  static causerie_recommender *make(const dataset &d, const embeddings *e, const model *m, const dialogues *t, const config &c,
                                    const run *r) {
    causerie_recommender *out = nullptr;
    detail::check(r, causerie_recommender_new(d.get(), e == nullptr ? nullptr : e->get(), m == nullptr ? nullptr : m->get(),
                                              t == nullptr ? nullptr : t->get(), c.get(), detail::raw(r), &out));
    return out;
  }
};

// 7 evaluate
class report : public detail::handle<causerie_report, causerie_report_free> {
 public:
  // `conversations`: JSON lines; "": the files of evaluate.conversations.
  static report evaluate(const std::vector<const recommender *> &systems, std::string_view conversations, const config &c,
                         const run *r = nullptr) {
    std::vector<const causerie_recommender *> raw;
    for (const auto *system : systems) raw.push_back(system == nullptr ? nullptr : system->get());
    causerie_report *out = nullptr;
    detail::check(r, causerie_evaluate(raw.data(), raw.size(), conversations.data(), conversations.size(), c.get(), detail::raw(r), &out));
    return report(out);
  }
  // The whole loop into `work_dir`; resumes.
  static report pipeline(const config &c, const std::string &work_dir, bool restart = false, const run *r = nullptr) {
    causerie_report *out = nullptr;
    detail::check(r, causerie_pipeline(c.get(), work_dir.c_str(), restart ? 1 : 0, detail::raw(r), &out));
    return report(out);
  }
  std::string json() const { return detail::text(causerie_report_json(get())); }
  std::string html() const {
    const char *out = nullptr;
    detail::check(causerie_report_html(get(), &out));
    return detail::text(out);
  }
  void save(const std::string &folder) const { detail::check(causerie_report_save(get(), folder.c_str())); }
  // Mean and standard error of "recall@10" and its like, items already mentioned removed.
  std::pair<double, double> metric(std::size_t system, const std::string &name) const {
    double mean = 0, se = 0;
    detail::check(causerie_report_metric(get(), system, name.c_str(), &mean, &se));
    return {mean, se};
  }

 private:
  explicit report(causerie_report *raw) : handle(raw) {}
};

}  // namespace causerie

#endif  // CAUSERIE_HPP
