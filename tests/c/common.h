/* What the C tests share: a call must succeed, or fail with a given code; a small simulated dataset. */
#ifndef COMMON_H
#define COMMON_H
#include "left.h"
#include <causerie.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(what)                                                            \
  do {                                                                         \
    if (!(what)) {                                                             \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what);       \
      exit(1);                                                                 \
    }                                                                          \
  } while (0)
#define MUST(call) expect((call), 0, NULL, __FILE__, __LINE__)
#define FAILS(call, code, says) expect((call), (code), (says), __FILE__, __LINE__)

static inline void expect(causerie_error *error, int32_t code, const char *says, const char *file, int line) {
  if (causerie_error_code(error) != code || (says != NULL && strstr(causerie_error_message(error), says) == NULL)) {
    fprintf(stderr, "%s:%d: code %d where %d is due: %s\n", file, line, causerie_error_code(error), code,
            causerie_error_message(error));
    exit(1);
  }
  causerie_error_free(error);
}

static inline causerie_config *small(void) {
  const char *toml =
      "[simulate]\nitems = 60\nusers = 100\nreviews = 500\nconversations = 20\n[embed]\ndim = 16\nuser_dim = 8\n"
      "[select]\nbudget = 20\n[synthesize]\nqueries = 1\n[tune]\nhead_epochs = 1\n";
  causerie_config *config = NULL;
  MUST(causerie_config_new(&config));
  MUST(causerie_config_read(config, toml, strlen(toml)));
  return config;
}

static inline char *in(const char *folder, const char *name) {
  static char path[4][4096];
  static int next;
  char *p = path[next++ % 4];
  snprintf(p, sizeof path[0], "%s/%s", folder, name);
  return p;
}

static inline causerie_dataset *simulated(const char *folder, const causerie_config *config) {
  causerie_dataset *dataset = NULL;
  MUST(causerie_simulate(config, folder, NULL));
  MUST(causerie_dataset_new(config, &dataset));
  MUST(causerie_dataset_add_file(dataset, CAUSERIE_ITEMS, in(folder, "items.jsonl"), NULL, NULL));
  MUST(causerie_dataset_add_file(dataset, CAUSERIE_REVIEWS, in(folder, "reviews.jsonl"), NULL, NULL));
  return dataset;
}

/* A tuned ranking head over the simulated domain. */
static inline causerie_recommender *tuned(const causerie_dataset *dataset, const causerie_config *config) {
  causerie_embeddings *embeddings = NULL;
  causerie_selection *selection = NULL;
  causerie_dialogues *dialogues = NULL;
  causerie_model *model = NULL;
  causerie_recommender *recommender = NULL;
  MUST(causerie_embed(dataset, config, NULL, NULL, &embeddings));
  MUST(causerie_select(dataset, embeddings, NULL, config, NULL, &selection));
  MUST(causerie_synthesize(dataset, selection, config, 1, NULL, NULL, &dialogues));
  MUST(causerie_tune(dialogues, dataset, embeddings, config, NULL, &model));
  MUST(causerie_recommender_new(dataset, embeddings, model, NULL, config, NULL, &recommender));
  causerie_model_free(model);
  causerie_dialogues_free(dialogues);
  causerie_selection_free(selection);
  causerie_embeddings_free(embeddings);
  return recommender;
}

#define FUNNY "[{\"role\": \"user\", \"text\": \"something funny and moving\"}]"
#endif
