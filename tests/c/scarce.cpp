// Memory runs out at every place where the C++ of llama.cpp asks for some: `operator new` of this program, which the library
// uses, throws at the n-th call. Each is an error of the call that was under way, and the handles go on. argv: a folder, a GGUF.
#include "left.h"
#include <causerie.hpp>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>

#define CHECK(what) \
  if (!(what)) std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what), std::exit(1)

// How many more calls are served; below zero: all.
static long left = -1;

void *operator new(std::size_t size) {
  if (left == 0) throw std::bad_alloc();
  if (left > 0) left--;
  if (void *p = std::malloc(size == 0 ? 1 : size)) return p;
  throw std::bad_alloc();
}
void *operator new[](std::size_t size) { return operator new(size); }
// Not inlined: g++ would take `free` for the wrong end of what it believes the standard `new` gave.
[[gnu::noinline]] void operator delete(void *p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void *p, std::size_t) noexcept { std::free(p); }
void operator delete[](void *p) noexcept { std::free(p); }
void operator delete[](void *p, std::size_t) noexcept { std::free(p); }

// With n = 0, 1, 2, … calls served (then in wider steps) until one gets through; how many failed. `call` is given what to make
// its call by, so that nothing else is starved.
template <class F>
static int starve(const char *what, F call) {
  int failed = 0;
  for (long n = 0;; n += 1 + n / 8) {
    bool enough = false;
    causerie_error *error = call([&](auto make) {
      left = n;
      causerie_error *e = make();
      enough = left > 0;
      left = -1;
      return e;
    });
    if (error == nullptr && enough) break;
    if (error != nullptr) {
      failed++;
      if (causerie_error_code(error) == CAUSERIE_BUG) {
        std::fprintf(stderr, "%s, %ld: %s\n", what, n, causerie_error_message(error));
        std::exit(1);
      }
    }
    causerie_error_free(error);
  }
  std::printf("%s: %d failures\n", what, failed);
  return failed;
}

int main(int argc, char **argv) {
  CHECK(argc > 2);
  const std::string folder = argv[1];
  causerie::config config("[simulate]\nitems = 60\nusers = 100\nreviews = 500\nconversations = 20\n"
                          "[recommend]\ncontext_tokens = 256\n[run]\nthreads = 1\n");
  causerie::simulate(config, folder);
  causerie::dataset dataset(config);
  dataset.add_file(causerie::table::items, folder + "/items.jsonl");
  const causerie::query talk("once upon a time");
  causerie_run *run = nullptr;
  CHECK(causerie_run_new(1, &run) == nullptr);

  const int opened = starve("open", [&](auto starved) {
    causerie_recommender *lm = nullptr;
    causerie_error *error =
        starved([&] { return causerie_recommender_open_lm(dataset.get(), argv[2], nullptr, config.get(), run, &lm); });
    CHECK((error == nullptr) == (lm != nullptr));
    causerie_recommender_free(lm);
    return error;
  });
  const auto lm = causerie::recommender::open_lm(dataset, argv[2], config);
  const auto first = lm.recommend(talk, 3).items();
  CHECK(first.size() == 3);
  const int answered = starve("recommend", [&](auto starved) {
    causerie_reply *reply = nullptr;
    // Another conversation each time, so that nothing is answered from memory.
    static int turn = 0;
    const std::string request = R"([{"role": "user", "text": "a film number )" + std::to_string(turn++) + R"("}])";
    causerie_error *error =
        starved([&] { return causerie_recommend(lm.get(), request.data(), request.size(), 3, run, &reply); });
    CHECK((error == nullptr) == (reply != nullptr));
    causerie_reply_free(reply);
    const auto again = lm.recommend(talk, 3).items();
    CHECK(again.size() == 3 && again[0].item == first[0].item && again[2].item == first[2].item);
    return error;
  });
  causerie_run_free(run);
  CHECK(opened > 10 && answered > 10);
  return 0;
}
