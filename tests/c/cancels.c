/* Every stage is cancelled at its first report, its second, its fourth, … until it gets through: each time the call ends with
 * CAUSERIE_CANCELLED, soon, without an output, and the handles go on. (Leaks are seen by the sanitizer that it runs under.) */
#include "common.h"
#include <time.h>

static causerie_config *config;
static causerie_dataset *dataset;
static causerie_embeddings *embeddings;
static causerie_selection *selection;
static causerie_dialogues *dialogues;
static causerie_model *model;
static causerie_recommender *recommender;
static const char *folder;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

struct stop {
  int reports, at;
  double when;
};

static int32_t stop(const causerie_progress *progress, void *data) {
  struct stop *s = data;
  CHECK(progress->size == sizeof *progress && progress->stage != NULL);
  if (++s->reports != s->at) return 0;
  s->when = now();
  return 1;
}

typedef causerie_error *(*stage)(const causerie_run *run);

/* A stage that makes a handle of `noun`, which must be NULL where it fails. */
#define MAKES(name, noun, call)                        \
  static causerie_error *name(const causerie_run *run) { \
    causerie_##noun *out = NULL;                       \
    causerie_error *error = call;                      \
    CHECK((error == NULL) == (out != NULL));           \
    causerie_##noun##_free(out);                       \
    return error;                                      \
  }

static int32_t answer(const causerie_request *request, causerie_answer *slot, void *data) {
  (void)data;
  const char *list = request->kind == CAUSERIE_ASK_QUERY ? "1. something funny" : "1. A\n2. B\n3. C";
  causerie_error_free(causerie_answer_set(slot, list, strlen(list), 1, 1));
  return 0;
}

static causerie_error *simulate(const causerie_run *run) { return causerie_simulate(config, in(folder, "again"), run); }
static causerie_error *score(const causerie_run *run) {
  float scores[4096];
  return causerie_score(recommender, FUNNY, strlen(FUNNY), run, scores, causerie_recommender_count(recommender));
}
static causerie_error *add_file(const causerie_run *run) {
  causerie_dataset *fresh = NULL;
  MUST(causerie_dataset_new(config, &fresh));
  causerie_error *error = causerie_dataset_add_file(fresh, CAUSERIE_ITEMS, in(folder, "items.jsonl"), run, NULL);
  causerie_dataset_free(fresh);
  return error;
}
MAKES(import, dataset, causerie_dataset_import(config, run, &out, NULL))
MAKES(embed, embeddings, causerie_embed(dataset, config, NULL, run, &out))
MAKES(choose, selection, causerie_select(dataset, embeddings, NULL, config, run, &out))
MAKES(offline, dialogues, causerie_synthesize(dataset, selection, config, 1, NULL, run, &out))
MAKES(hosted, dialogues, causerie_synthesize_with(dataset, selection, "mine", answer, NULL, config, 1, NULL, run, &out))
MAKES(tune, model, causerie_tune(dialogues, dataset, embeddings, config, run, &out))
MAKES(open_head, recommender, causerie_recommender_new(dataset, embeddings, model, dialogues, config, run, &out))
MAKES(ask, reply, causerie_recommend(recommender, FUNNY, strlen(FUNNY), 5, run, &out))
MAKES(evaluate, report,
      causerie_evaluate((const causerie_recommender *const *)&recommender, 1, NULL, 0, config, run, &out))

static causerie_error *pipeline(const causerie_run *run) {
  return causerie_pipeline(config, in(folder, "work"), 0, run, NULL);
}

static int stopped(const char *what, stage call) {
  int times = 0;
  double worst = 0;
  for (int at = 1;; at *= 2) {
    struct stop s = {0, at, 0};
    causerie_run *run = NULL;
    MUST(causerie_run_new(1, &run));
    MUST(causerie_run_on_progress(run, stop, &s));
    causerie_error *error = call(run);
    double end = now();
    causerie_run_free(run);
    if (s.when == 0) {
      /* It came to its end before: it succeeds, or fails for what it was given and not for the cancel. */
      CHECK(causerie_error_code(error) != CAUSERIE_CANCELLED);
      causerie_error_free(error);
      break;
    }
    /* Stopped at its last report it may have been done. */
    if (error != NULL) {
      FAILS(error, CAUSERIE_CANCELLED, NULL);
      times++;
    }
    if (end - s.when > worst) worst = end - s.when;
  }
  printf("%-10s cancelled %d times, at most %.0f ms later\n", what, times, worst * 1e3);
  /* A second is the promise; a machine that is busy with other tests gets five. */
  CHECK(worst < 5);
  return times;
}

int main(int argc, char **argv) {
  folder = argc > 1 ? argv[1] : ".";
  char toml[8192];
  config = small();
  snprintf(toml, sizeof toml,
           "[dataset]\nitems = [\"%s/items.jsonl\"]\nreviews = [\"%s/reviews.jsonl\"]\n"
           "interactions = [\"%s/interactions.csv\"]\n[pipeline]\nrounds = 1\nbudget = 20\nstrategies = [\"fisher\"]\n"
           "[evaluate]\nconversations = [\"%s/conversations.jsonl\"]\nbootstrap = 100\nexamples = 0\n",
           folder, folder, folder, folder);
  MUST(causerie_config_read(config, toml, strlen(toml)));
  dataset = simulated(folder, config);
  MUST(causerie_embed(dataset, config, NULL, NULL, &embeddings));
  MUST(causerie_select(dataset, embeddings, NULL, config, NULL, &selection));
  MUST(causerie_synthesize(dataset, selection, config, 1, NULL, NULL, &dialogues));
  MUST(causerie_tune(dialogues, dataset, embeddings, config, NULL, &model));
  MUST(causerie_recommender_new(dataset, embeddings, model, NULL, config, NULL, &recommender));

  CHECK(stopped("simulate", simulate) > 0);
  CHECK(stopped("import", import) > 0);
  CHECK(stopped("add_file", add_file) > 0);
  CHECK(stopped("embed", embed) > 0);
  CHECK(stopped("select", choose) > 0);
  CHECK(stopped("synthesize", offline) > 0);
  CHECK(stopped("with", hosted) > 0);
  CHECK(stopped("tune", tune) > 0);
  CHECK(stopped("evaluate", evaluate) > 0);
  CHECK(stopped("pipeline", pipeline) > 3);
  MUST(causerie_config_set(config, "recommend.system", "fusion"));
  CHECK(stopped("fusion", open_head) > 0);
  /* These are over in a moment and report nothing of their own; a run that is cancelled before is seen by them. */
  stopped("recommend", ask);
  stopped("score", score);
  causerie_run *run = NULL;
  causerie_reply *reply = NULL;
  MUST(causerie_run_new(1, &run));
  causerie_run_cancel(run);
  FAILS(causerie_recommend(recommender, FUNNY, strlen(FUNNY), 5, run, &reply), CAUSERIE_CANCELLED, NULL);
  causerie_run_reset(run);
  MUST(causerie_recommend(recommender, FUNNY, strlen(FUNNY), 5, run, &reply));
  causerie_reply_free(reply);
  causerie_run_free(run);

  causerie_recommender_free(recommender);
  causerie_model_free(model);
  causerie_dialogues_free(dialogues);
  causerie_selection_free(selection);
  causerie_embeddings_free(embeddings);
  causerie_dataset_free(dataset);
  causerie_config_free(config);
  return 0;
}
