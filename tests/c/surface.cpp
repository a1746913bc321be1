// What causerie.hpp promises: errors by kind, handles that were moved from or closed, numbers that are negative, plain words that
// are no JSON, callbacks that stop or throw on any thread, the log, the settings' table, Arrow, and rows that were dropped.
// argv: a folder.
#include "left.h"
#include <atomic>
#include <causerie.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#define CHECK(what)                                                           \
  do {                                                                        \
    if (!(what)) {                                                            \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what); \
      std::exit(1);                                                           \
    }                                                                         \
  } while (0)

namespace {

struct oops {
  int number;
};

// Whether `call` throws exactly this kind, and says `part`.
template <class Kind, class Call>
bool fails(const Call &call, const std::string &part = "") {
  try {
    call();
  } catch (const Kind &e) {
    if (std::string(e.what()).find(part) != std::string::npos) return true;
    std::fprintf(stderr, "said: %s\n", e.what());
  } catch (const causerie::error &e) {
    std::fprintf(stderr, "another kind, %d: %s\n", e.code(), e.what());
  }
  return false;
}

template <class Call>
int thrown(const Call &call) {
  try {
    call();
  } catch (const oops &e) {
    return e.number;
  }
  return 0;
}

void errors_have_kinds(causerie::config &config, const std::string &folder) {
  CHECK(fails<causerie::invalid_error>([&] { config.set("select.bugdet", "5"); }, "select.budget"));
  CHECK(fails<causerie::not_found_error>([&] { causerie::selection::load(folder + "/no-such-file"); }));
  CHECK(fails<causerie::format_error>([&] { causerie::dialogues::parse("no dialogue\n"); }));
  try {
    config.read("no toml");
  } catch (const causerie::error &e) {
    CHECK(e.code() == CAUSERIE_INVALID);
  }
  // A zero byte would cut a path short: another file would be read or written.
  const std::string cut = folder + "/a" + '\0' + "b";
  CHECK(fails<causerie::invalid_error>([&] { causerie::simulate(config, cut); }, "folder: a zero byte"));
  CHECK(fails<causerie::invalid_error>([&] { config.set(std::string("run.threads\0x", 13), "1"); }, "zero byte"));
}

void settings_are_there_by_name(causerie::config &config) {
  const auto all = causerie::settings();
  CHECK(all.size() > 100 && all.size() == causerie_config_count());
  CHECK(causerie::setting_of("select.budget").kind == "integer" && !causerie::setting_of("select.budget").doc.empty());
  CHECK(fails<causerie::not_found_error>([] { causerie::setting_of("select.bugdet"); }));
  for (const auto &s : all) CHECK(!s.key.empty() && !config.value(std::string(s.key)).empty());
  config.set("evaluate.bootstrap", 250).set("tune.learning_rate", 0.0005).set("pipeline.naive", false);
  CHECK(config.value("evaluate.bootstrap") == "250" && config.value("tune.learning_rate") == "0.0005");
  CHECK(config.value("pipeline.naive") == "false" && config.toml().find("bootstrap = 250") != std::string::npos);
  CHECK(fails<causerie::invalid_error>([&] { config.set("select.budget", -1); }));
}

void moved_from_and_closed_handles_say_so(const causerie::dataset &dataset, const causerie::config &config) {
  causerie::query one("funny");
  causerie::query two = std::move(one);
  CHECK(fails<causerie::closed_error>([&] { one.turn(causerie::role::user, "x"); }, "this query was moved from"));  // NOLINT
  one = std::move(two);
  one.clear();
  one.close();
  CHECK(fails<causerie::closed_error>([&] { one.clear(); }, "this query was closed"));
  one.close();
  // A config or a run that is moved from is not silently the defaults, or none.
  causerie::config settings("[embed]\ndim = 4\n"), other = std::move(settings);
  CHECK(fails<causerie::closed_error>([&] { causerie::embeddings(dataset, settings); }, "this config was moved from"));  // NOLINT
  CHECK(fails<causerie::closed_error>([&] { settings.value("embed.dim"); }));                                          // NOLINT
  causerie::run run(1), away = std::move(run);
  CHECK(fails<causerie::closed_error>([&] { causerie::embeddings(dataset, other, "", &run); }, "this run was moved from"));  // NOLINT
  CHECK(run.get() == nullptr);                                                                                              // NOLINT
  run.cancel();
  run.reset();
  run.close();
  CHECK(fails<causerie::closed_error>([&] { run.poll(); }));
  away.close();
  CHECK(fails<causerie::closed_error>([&] { causerie::embeddings(dataset, other, "", &away); }, "this run was closed"));
  // What tells without an error of its own tells no 0 of a closed handle.
  causerie::dataset gone(config);
  gone.close();
  CHECK(fails<causerie::closed_error>([&] { gone.count(causerie::table::items); }));
  CHECK(fails<causerie::closed_error>([&] { gone.title(0); }));
  CHECK(fails<causerie::closed_error>([&] { causerie::embeddings(gone, other); }));
}

void negative_numbers_are_errors(const causerie::recommender &recommender, const causerie::dataset &dataset) {
  causerie::query query("funny");
  for (const long long k : {-1LL, -2147483648LL, 2147483648LL, 4294967295LL, 4294967296LL, std::numeric_limits<long long>::min()}) {
    CHECK(fails<causerie::invalid_error>([&] { recommender.recommend(query, k); }, "top_k: " + std::to_string(k)));
    CHECK(fails<causerie::invalid_error>([&] { query.explain(k); }, "explain: " + std::to_string(k)));
  }
  CHECK(fails<causerie::invalid_error>([&] { recommender.recommend(query, static_cast<std::uint32_t>(-1)); }));
  CHECK(fails<causerie::invalid_error>([&] { recommender.id(-1); }, "item: -1"));
  CHECK(fails<causerie::invalid_error>([&] { recommender.id(recommender.size()); }));
  CHECK(fails<causerie::invalid_error>([&] { dataset.title(-1); }));
  CHECK(fails<causerie::invalid_error>([&] { query.seen_title("Alien", -1979); }));
  CHECK(fails<causerie::invalid_error>([] { causerie::run(-1); }, "threads: -1"));
  const float row[] = {1, 2};
  CHECK(fails<causerie::invalid_error>([&] { causerie::embeddings::from_rows(row, 1, -2); }, "dim: -2"));
  const auto reply = recommender.recommend(query, 3);
  CHECK(reply.size() == 3 && fails<causerie::invalid_error>([&] { reply.title(3); }, "3 of 3"));
  CHECK(fails<causerie::invalid_error>([&] { reply.id(-1); }) && fails<causerie::invalid_error>([&] { reply.reasons(3); }));
  CHECK(fails<causerie::invalid_error>([&] {
    causerie::query past("funny");
    recommender.recommend(past.exclude_rows(std::vector<std::uint64_t>{static_cast<std::uint64_t>(-1)}));
  }));
}

void plain_words_are_not_json(const causerie::recommender &recommender) {
  const std::string json = R"([{"role": "user", "text": "funny"}])";
  CHECK(fails<causerie::invalid_error>([&] { recommender.recommend(json, 3); }, "recommend_json"));
  CHECK(fails<causerie::invalid_error>([&] { recommender.score(" \n" + json); }, "query::parse"));
  CHECK(fails<causerie::invalid_error>([&] { causerie::query{json}; }));
  CHECK(fails<causerie::invalid_error>([&] { recommender.recommend_json("funny", 3); }));
  CHECK(recommender.recommend_json(json, 3) == recommender.recommend("funny", 3).json());
  CHECK(recommender.score_json(json) == recommender.score("funny"));
  // Brackets alone make no request; and `turn` takes any words.
  CHECK(recommender.recommend("[sad] and {slow}", 3).size() == 3);
  causerie::query verbatim;
  CHECK(recommender.recommend(verbatim.turn(causerie::role::user, json), 3).size() == 3);

  const auto reply = recommender.recommend("funny", 5);
  const auto items = reply.items();
  CHECK(items.size() == 5);
  for (std::size_t i = 0; i < items.size(); ++i) {
    CHECK(items[i].row == reply.rows()[i] && recommender.id(items[i].row) == items[i].item && items[i].item == reply.id(i));
    CHECK(items[i].year > 1900 && items[i].title.find("(" + std::to_string(items[i].year) + ")") != std::string::npos);
  }
  // What a temporary gives is a copy.
  std::size_t rows = 0;
  for (const auto row : recommender.recommend("funny", 5).rows()) rows += row < recommender.size();
  CHECK(rows == 5 && recommender.recommend("funny", 5).title(0) == items[0].title);
  CHECK(reply.year(0) == items[0].year && fails<causerie::invalid_error>([&] { reply.year(5); }));
}

void dropped_rows_are_told(const causerie::config &config, const causerie::dialogues &pairs) {
  causerie::dataset dataset(config);
  CHECK(dataset.add(causerie::table::items, "{\"item\": \"a\", \"title\": \"A\"}\nnot json\n{\"item\": \"b\", \"title\": \"B\"}\n") == 1);
  CHECK(dataset.count(causerie::table::items) == 2);
  CHECK(fails<causerie::format_error>([&] { dataset.add(causerie::table::reviews, "not json\nnor this\n"); }));
  std::size_t dropped = 99;
  const auto some = causerie::dialogues::parse(pairs[0] + "\nno dialogue\n", &dropped);
  CHECK(some.size() == 1 && some[0] == pairs[0] && dropped == 1 && fails<causerie::invalid_error>([&] { some[1]; }));
}

void embeddings_come_from_arrow() {
  static int released;
  released = 0;
  static const double values[] = {1, 2, 3, 4};
  const void *buffers[] = {nullptr, values}, *none[] = {nullptr};
  ArrowSchema child = {}, schema = {}, *children[] = {&child};
  ArrowArray child_array = {}, array = {}, *arrays[] = {&child_array};
  const auto end_schema = [](ArrowSchema *s) { released++, s->release = nullptr; };
  const auto end_array = [](ArrowArray *a) { released++, a->release = nullptr; };
  child.format = "g", child.name = "", child.release = end_schema;
  schema.format = "+w:2", schema.name = "", schema.n_children = 1, schema.children = children, schema.release = end_schema;
  child_array.length = 4, child_array.n_buffers = 2, child_array.buffers = buffers, child_array.release = end_array;
  array.length = 2, array.n_buffers = 1, array.buffers = none, array.n_children = 1, array.children = arrays, array.release = end_array;
  const auto rows = causerie::embeddings::from_arrow(&schema, &array);
  CHECK(rows.rows() == 2 && rows.dim() == 2 && rows.data()[3] == 4.0F && released >= 2 && schema.release == nullptr);
  CHECK(fails<causerie::invalid_error>([&] { causerie::embeddings::from_arrow(&schema, &array); }, "released"));
  CHECK(fails<causerie::invalid_error>([] { causerie::embeddings::from_arrow(nullptr); }));
  // Taken also where the call was not made.
  causerie::dataset gone{causerie::config()};
  gone.close();
  released = 0;
  schema.release = end_schema, array.release = end_array;
  CHECK(fails<causerie::closed_error>([&] { gone.add(causerie::table::items, &schema, &array); }) && released == 2);
}

// The log: heard on any thread, what it throws is swallowed, and it ends.
void the_log_is_heard(const causerie::config &config, const std::string &folder) {
  const auto talks = [&] {
    causerie::dataset dataset(config);
    dataset.add(causerie::table::items, "{\"item\": \"a\", \"title\": \"A\"}\nnot json\n");
    causerie::simulate(config, folder);
  };
  auto lines = std::make_shared<std::atomic<int>>(0);
  causerie::log([lines](causerie::log_level level, std::string_view line) {
    CHECK(level >= causerie::log_level::error && level <= causerie::log_level::debug && !line.empty());
    ++*lines;
    throw oops{1};
  }, causerie::log_level::debug);
  talks();
  CHECK(*lines > 0);
  // From within it is an error, which is swallowed with the others: nothing waits for itself.
  std::atomic<bool> refused{false};
  causerie::log([&refused](causerie::log_level, std::string_view) {
    refused = fails<causerie::invalid_error>([] { causerie::log(nullptr); }, "within");
  }, causerie::log_level::debug);
  CHECK(lines.use_count() == 1);
  talks();
  CHECK(refused);
  // Exchanged by one thread while others are heard.
  std::atomic<bool> over{false};
  std::thread exchanging([&] {
    for (int i = 0; !over; i++) causerie::log([text = std::string(100, 'x')](causerie::log_level, std::string_view) { CHECK(text.size() == 100); });
  });
  for (int i = 0; i < 5; i++) talks();
  over = true;
  exchanging.join();
  causerie::log(nullptr);
  const int before = *lines;
  talks();
  CHECK(*lines == before);
}

// One run that many threads share, each call of which throws: that once ended the process.
void each_call_of_a_shared_run_throws_what_it_threw() {
  std::vector<float> rows(64 * 8);
  for (std::size_t i = 0; i < rows.size(); i++) rows[i] = static_cast<float>((i * 7919) % 13) + 1;
  const auto embeddings = causerie::embeddings::from_rows(rows.data(), 64, 8);
  const causerie::config config("[select]\nbudget = 20\n[run]\nthreads = 1\n");
  static thread_local int me = 0;
  const causerie::run run(1, [](const causerie_progress &) -> bool { throw oops{me}; });
  std::atomic<int> right{0}, wrong{0};
  const auto calls = [&](int number) {
    me = number;
    for (int k = 0; k < 100; k++) {
      const int what = thrown([&] { causerie::selection(nullptr, embeddings, config, &run); });
      ++(what == number ? right : wrong);
    }
  };
  std::vector<std::thread> threads;
  for (int i = 1; i <= 8; i++) threads.emplace_back(calls, i);
  for (auto &thread : threads) thread.join();
  CHECK(right == 800 && wrong == 0);
}

void a_callback_that_stops_ends_its_own_call(const causerie::dataset &dataset, const causerie::config &config) {
  bool stops = true;
  int tokens = 0;
  causerie::run run(1, [&](const causerie_progress &) { return !stops; });
  CHECK(fails<causerie::cancelled_error>([&] { causerie::embeddings(dataset, config, "", &run); }));
  stops = false;
  CHECK(causerie::embeddings(dataset, config, "", &run).rows() > 0);
  run.cancel();
  CHECK(fails<causerie::cancelled_error>([&] { causerie::embeddings(dataset, config, "", &run); }));
  run.reset();
  run.on_token([&](std::string_view) { return ++tokens > 0; }).on_progress({});
  CHECK(causerie::embeddings(dataset, config, "", &run).rows() > 0 && run.poll().started == 1 && tokens == 0);
}

// A run that is moved, destroyed or closed while a call uses it, and a handle closed on another thread: the call goes on.
void what_is_used_may_go(const causerie::dataset &dataset, const causerie::config &config) {
  for (int how = 0; how < 3; how++) {
    std::atomic<bool> heard{false}, gone{false};
    std::atomic<int> after{0};
    auto run = std::make_unique<causerie::run>(1, [&, kept = std::string(64, 'y')](const causerie_progress &) {
      heard = true;
      while (!gone) std::this_thread::yield();
      after += static_cast<int>(kept.size());
      return true;
    });
    std::thread thread([&, raw = run.get()] { CHECK(causerie::embeddings(dataset, config, "", raw).rows() > 0); });
    while (!heard) std::this_thread::yield();
    if (how == 0) run.reset();
    if (how == 1) run->close();
    std::unique_ptr<causerie::run> moved;
    if (how == 2) moved = std::make_unique<causerie::run>(std::move(*run));
    gone = true;
    thread.join();
    CHECK(after >= 64);
  }
  // Texts are read while a handle is closed: they are whole, or it was closed.
  for (int round = 0; round < 20; round++) {
    causerie::config settings("[embed]\ndim = 4\n");
    std::atomic<int> closed{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; i++) {
      threads.emplace_back([&] {
        for (;;) {
          try {
            CHECK(settings.value("embed.dim") == "4" && settings.toml().size() > 1000);
          } catch (const causerie::closed_error &) {
            ++closed;
            return;
          }
        }
      });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    settings.close();
    for (auto &thread : threads) thread.join();
    CHECK(closed == 4);
  }
  // A table that is being filled tells no 0: it is busy, or whole.
  causerie::dataset filled(config);
  std::string lines;
  for (int i = 0; i < 500; i++) lines += "{\"item\": \"" + std::to_string(i) + "\", \"title\": \"Film\"}\n";
  filled.add(causerie::table::items, lines);
  std::atomic<bool> over{false};
  std::atomic<int> busy{0}, told{0};
  std::thread reader([&] {
    while (!over) {
      try {
        CHECK(filled.count(causerie::table::items) >= 500 && filled.title(0) == "Film" && !filled.report().empty());
        ++told;
      } catch (const causerie::busy_error &) {
        ++busy;
      }
    }
  });
  const auto start = std::chrono::steady_clock::now();
  while ((busy < 10 || told < 10) && std::chrono::steady_clock::now() - start < std::chrono::minutes(1)) {
    try {
      CHECK(filled.add(causerie::table::items, lines) == 500);  // all there already
      std::this_thread::sleep_for(std::chrono::microseconds(500));
    } catch (const causerie::busy_error &) {
      ++busy;
    }
  }
  over = true;
  reader.join();
  CHECK(busy >= 10 && told >= 10);
}

void teachers_throw_and_ask_for_a_moment(const causerie::dataset &dataset, const causerie::selection &seeds, causerie::config &config) {
  config.set("synthesize.in_flight", 4).set("synthesize.backoff_ms", 1);
  std::atomic<int> asked{0};
  // Exceptions on threads of the library, several at once.
  const causerie::teacher broken = [&](const causerie_request &) -> causerie::answer { throw oops{++asked}; };
  CHECK(thrown([&] { causerie::dialogues(dataset, seeds, "broken", broken, config); }) > 0);
  const causerie::run run(1, [](const causerie_progress &) { return true; });
  CHECK(thrown([&] { causerie::dialogues(dataset, seeds, "broken", broken, config, "", &run); }) > 0);
  // A negative time to wait is none: the next try comes at once, and not in 584 million years.
  std::atomic<int> failures{0};
  const causerie::teacher hurried = [&](const causerie_request &request) -> causerie::answer {
    if (request.attempt == 0) {
      ++failures;
      throw causerie::teacher_failure{CAUSERIE_FAIL_THROTTLED, "not now", -5};
    }
    std::string text = "1. Something moving for this evening, not too long.";
    if (request.kind == CAUSERIE_ASK_RECOMMEND) {
      text.clear();
      for (std::size_t i = 0; i < 20; ++i) text += std::to_string(i + 1) + ". " + dataset.title((request.seed + i * 7) % 60) + "\n";
    }
    return {text, 1, 1};
  };
  const auto start = std::chrono::steady_clock::now();
  const causerie::dialogues made(dataset, seeds, "hurried", hurried, config);
  CHECK(made.size() > 0 && failures > 0 && std::chrono::steady_clock::now() - start < std::chrono::minutes(1));
  CHECK(made.report().size() > 2 && made[0].find("\"messages\"") != std::string::npos);
  CHECK(fails<causerie::invalid_error>([&] { causerie::dialogues(dataset, seeds, "none", causerie::teacher(), config); }, "empty"));
}

void all(const std::string &folder) {
  causerie::check_version();
  CHECK(causerie::abi() == CAUSERIE_ABI && causerie::version().find(CAUSERIE_VERSION) != std::string::npos);
  causerie::config config(
      "[simulate]\nitems = 60\nusers = 100\nreviews = 500\nconversations = 20\n[embed]\ndim = 16\nuser_dim = 8\n"
      "[select]\nbudget = 20\n[synthesize]\nqueries = 1\n[tune]\nhead_epochs = 1\n");
  causerie::simulate(config, folder);
  causerie::dataset dataset(config);
  CHECK(dataset.add_file(causerie::table::items, folder + "/items.jsonl") == 0);
  CHECK(dataset.add_file(causerie::table::reviews, folder + "/reviews.jsonl") == 0);
  const causerie::embeddings embeddings(dataset, config);
  const causerie::selection seeds(&dataset, embeddings, config);
  const causerie::dialogues pairs(dataset, seeds, config);
  const causerie::model head(pairs, dataset, embeddings, config);
  const causerie::recommender recommender(dataset, &embeddings, &head, nullptr, config);
  CHECK(causerie::handles() >= 7);

  errors_have_kinds(config, folder);
  settings_are_there_by_name(config);
  moved_from_and_closed_handles_say_so(dataset, config);
  negative_numbers_are_errors(recommender, dataset);
  plain_words_are_not_json(recommender);
  dropped_rows_are_told(config, pairs);
  embeddings_come_from_arrow();
  the_log_is_heard(config, folder + "/log");
  each_call_of_a_shared_run_throws_what_it_threw();
  a_callback_that_stops_ends_its_own_call(dataset, config);
  what_is_used_may_go(dataset, config);
  teachers_throw_and_ask_for_a_moment(dataset, seeds, config);
}

}  // namespace

int main(int argc, char **argv) {
  try {
    all(argc > 1 ? argv[1] : ".");
  } catch (const std::exception &e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  CHECK(causerie::handles() == 0);
  return 0;
}
