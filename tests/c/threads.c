/* Eight threads ask two recommenders that they share; a ninth polls and cancels. */
#include "common.h"
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

static causerie_recommender *recommenders[2];
static causerie_query *query;
static char first[2][4096];

static void *ask(void *number) {
  size_t n = (size_t)number;
  for (int i = 0; i < 40; i++) {
    causerie_reply *reply = NULL;
    MUST(causerie_recommend(recommenders[n % 2], FUNNY, strlen(FUNNY), 10, NULL, &reply));
    CHECK(causerie_reply_count(reply) == 10);
    CHECK(strcmp(causerie_reply_json(reply), first[n % 2]) == 0);
    CHECK(causerie_reply_item(reply, 10, NULL) == NULL);
    causerie_reply_free(reply);
    MUST(causerie_recommend_query(recommenders[n % 2], query, 10, NULL, &reply));
    CHECK(strcmp(causerie_reply_json(reply), first[n % 2]) == 0);
    causerie_reply_free(reply);
  }
  return NULL;
}

struct work {
  causerie_dataset *dataset;
  causerie_config *config;
  causerie_run *run;
  atomic_int ended;
};

static void *embed(void *p) {
  struct work *w = p;
  causerie_embeddings *embeddings = NULL;
  causerie_error *error = NULL;
  /* Until the cancel comes: one embedding of this size is over in a moment. */
  while (error == NULL) {
    error = causerie_embed(w->dataset, w->config, NULL, w->run, &embeddings);
    causerie_embeddings_free(embeddings);
    embeddings = NULL;
  }
  FAILS(error, CAUSERIE_CANCELLED, NULL);
  w->ended = 1;
  return NULL;
}

int main(int argc, char **argv) {
  const char *folder = argc > 1 ? argv[1] : ".";
  causerie_config *config = small();
  causerie_dataset *dataset = simulated(folder, config);
  recommenders[0] = tuned(dataset, config);
  MUST(causerie_config_set(config, "recommend.system", "popularity"));
  MUST(causerie_recommender_new(dataset, NULL, NULL, NULL, config, NULL, &recommenders[1]));
  MUST(causerie_query_parse(FUNNY, strlen(FUNNY), &query));
  for (int i = 0; i < 2; i++) {
    causerie_reply *reply = NULL;
    MUST(causerie_recommend(recommenders[i], FUNNY, strlen(FUNNY), 10, NULL, &reply));
    snprintf(first[i], sizeof first[i], "%s", causerie_reply_json(reply));
    causerie_reply_free(reply);
  }
  pthread_t threads[8];
  for (size_t i = 0; i < 8; i++) CHECK(pthread_create(&threads[i], NULL, ask, (void *)i) == 0);
  for (size_t i = 0; i < 8; i++) pthread_join(threads[i], NULL);

  struct work work = {dataset, config, NULL, 0};
  MUST(causerie_run_new(1, &work.run));
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, embed, &work) == 0);
  causerie_progress progress;
  do {
    MUST(causerie_run_poll(work.run, &progress, sizeof progress));
    struct timespec nap = {0, 1000000};
    nanosleep(&nap, NULL);
  } while (!progress.started);
  CHECK(progress.size == sizeof progress && strcmp(progress.stage, "embed") == 0);
  struct timespec before, after;
  clock_gettime(CLOCK_MONOTONIC, &before);
  causerie_run_cancel(work.run);
  pthread_join(thread, NULL);
  clock_gettime(CLOCK_MONOTONIC, &after);
  CHECK(work.ended && after.tv_sec - before.tv_sec <= 2);
  /* A cancelled run stays so until it is reset. */
  causerie_embeddings *embeddings = NULL;
  FAILS(causerie_embed(dataset, config, NULL, work.run, &embeddings), CAUSERIE_CANCELLED, NULL);
  causerie_run_reset(work.run);
  MUST(causerie_embed(dataset, config, NULL, work.run, &embeddings));
  causerie_embeddings_free(embeddings);

  causerie_run_free(work.run);
  causerie_query_free(query);
  causerie_recommender_free(recommenders[0]);
  causerie_recommender_free(recommenders[1]);
  causerie_dataset_free(dataset);
  causerie_config_free(config);
  return 0;
}
