// What C++ callbacks do to a call: they hear, stop it, or throw, and the handles go on. argv: a folder, a GGUF (may be missing).
#include "left.h"
#include <causerie.hpp>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

#define CHECK(what) \
  if (!(what)) std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what), std::exit(1)

struct oops {
  int number;
};

// What a call throws as the program's own type.
template <class F>
static int thrown(F call) {
  try {
    call();
  } catch (const oops &e) {
    return e.number;
  }
  return 0;
}

int main(int argc, char **argv) {
  CHECK(argc > 1);
  const std::string folder = argv[1];
  causerie::config config(
      "[simulate]\nitems = 60\nusers = 100\nreviews = 500\nconversations = 20\n[embed]\ndim = 16\nuser_dim = 8\n"
      "[select]\nbudget = 20\n[synthesize]\nqueries = 1\n[tune]\nhead_epochs = 1\n");
  causerie::simulate(config, folder);
  causerie::dataset dataset(config);
  dataset.add_file(causerie::table::items, folder + "/items.jsonl");
  dataset.add_file(causerie::table::reviews, folder + "/reviews.jsonl");

  // A progress callback that throws: its exception comes out, and run and dataset serve again.
  bool throws = true;
  causerie::run run(1, [&](const causerie_progress &) -> bool {
    if (throws) throw oops{7};
    return true;
  });
  CHECK(thrown([&] { causerie::embeddings(dataset, config, "", &run); }) == 7);
  throws = false;
  const causerie::embeddings embeddings(dataset, config, "", &run);
  CHECK(embeddings.rows() == dataset.count(causerie::table::reviews));

  // A teacher that throws.
  const causerie::selection selection(&dataset, embeddings, config);
  const causerie::teacher teacher = [](const causerie_request &) -> causerie::answer { throw oops{8}; };
  CHECK(thrown([&] { causerie::dialogues(dataset, selection, "mine", teacher, config); }) == 8);

  if (argc > 2) {
    config.set("recommend.mode", "generate").set("recommend.context_tokens", "256");
    const auto lm = causerie::recommender::open_lm(dataset, argv[2], config);
    const std::string talk = R"([{"role": "user", "text": "once upon a time"}])";
    std::string heard;
    std::size_t ends = 0;
    run.on_token([&](std::string_view text) {
      heard += text;
      ends += text.empty();
      return true;
    });
    lm.recommend_json(talk, 2, &run);
    CHECK(!heard.empty() && ends == 1);
    run.on_token([&](std::string_view) -> bool { throw oops{9}; });
    CHECK(thrown([&] { lm.recommend_json(talk, 2, &run); }) == 9);
    run.on_token({});
    lm.recommend_json(talk, 2, &run);
    CHECK(ends == 1);
  }
  return 0;
}
