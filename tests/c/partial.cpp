// An answer that was cut short by its time, or that read only the end of a conversation, says so: it once came back as if it were
// whole. argv: a folder, a GGUF.
#include "left.h"
#include <causerie.hpp>
#include <cstdio>
#include <cstdlib>
#include <string>

#define CHECK(what)                                                           \
  do {                                                                        \
    if (!(what)) {                                                            \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what); \
      std::exit(1);                                                           \
    }                                                                         \
  } while (0)

int main(int argc, char **argv) {
  CHECK(argc > 2);
  const std::string folder = argv[1];
  causerie::config config(
      "[run]\nthreads = 1\n[simulate]\nitems = 2000\nusers = 20\nreviews = 50\nconversations = 5\n[recommend]\ncontext_tokens = 256\n");
  causerie::simulate(config, folder);
  causerie::dataset dataset(config);
  dataset.add_file(causerie::table::items, folder + "/items.jsonl");
  std::string long_talk;
  for (int i = 0; i < 400; i++) long_talk += "something funny and moving for tonight, and then another one. ";
  for (const char *mode : {"generate", "constrained"}) {
    config.set("recommend.mode", mode).set("recommend.timeout_ms", 1);
    const auto hurried = causerie::recommender::open_lm(dataset, argv[2], config);
    int partial = 0;
    for (int i = 0; i < 5; i++) {
      // Each another conversation, so that nothing is answered from memory.
      const auto reply = hurried.recommend("a film number " + std::to_string(i) + ", " + long_talk.substr(0, 400), 50);
      partial += reply.partial();
      CHECK(reply.size() == 50 || reply.partial() || !reply.warnings().empty());
    }
    std::printf("%s: %d of 5 partial\n", mode, partial);
    CHECK(partial > 0);
    config.set("recommend.timeout_ms", 0);
    const auto patient = causerie::recommender::open_lm(dataset, argv[2], config);
    CHECK(!patient.recommend("something funny", 3).partial() && !patient.recommend("something funny", 3).truncated());
    CHECK(patient.recommend(long_talk, 3).truncated());
  }
  return 0;
}
