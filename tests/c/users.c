/* Handles that several threads read, change and free at once: each call succeeds, or says busy or closed; nothing else. */
#include "common.h"
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

static causerie_recommender *recommender;
static causerie_query *query;
static causerie_config *config;
static atomic_int stop;
static atomic_int calls[3];

enum { DONE, BUSY, CLOSED };

/* What a call came to; any other error ends the test. */
static int outcome(causerie_error *error) {
  int32_t code = causerie_error_code(error);
  int what = code == 0 ? DONE : code == CAUSERIE_BUSY ? BUSY : code == CAUSERIE_CLOSED ? CLOSED : -1;
  if (what < 0) {
    fprintf(stderr, "code %d: %s\n", code, causerie_error_message(error));
    exit(1);
  }
  causerie_error_free(error);
  calls[what]++;
  return what;
}

static void *ask(void *unused) {
  (void)unused;
  while (!stop) {
    causerie_reply *reply = NULL;
    if (outcome(causerie_recommend_query(recommender, query, 5, NULL, &reply)) == DONE) CHECK(causerie_reply_count(reply) == 5);
    causerie_reply_free(reply);
  }
  return NULL;
}

static void *change(void *unused) {
  (void)unused;
  while (!stop) {
    outcome(causerie_query_clear(query));
    outcome(causerie_query_turn(query, CAUSERIE_USER, "something funny", 15));
  }
  return NULL;
}

static void *settings(void *unused) {
  (void)unused;
  while (!stop) {
    const char *value = NULL;
    outcome(causerie_config_set(config, "recommend.top_k", "7"));
    /* A text that was lent is not read here: another thread may change the settings before it is. */
    outcome(causerie_config_get(config, "recommend.top_k", &value));
  }
  return NULL;
}

static void *join(void *unused) {
  (void)unused;
  for (int i = 0; !stop && i < 200; i++) {
    char line[128];
    int len = snprintf(line, sizeof line, "{\"item\": \"new-%d\", \"title\": \"A Funny Film %d\", \"genres\": [\"comedy\"]}", i, i);
    outcome(causerie_recommender_add(recommender, line, (size_t)len, NULL, NULL));
  }
  return NULL;
}

/* Sleeps a moment; a minute after `start` it is no use to wait longer. */
static void nap(time_t start, const char *what) {
  struct timespec moment = {0, 1000000}, now;
  nanosleep(&moment, NULL);
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (now.tv_sec - start <= 60) return;
  fprintf(stderr, "no %s within a minute: %d calls done, %d busy, %d closed\n", what, calls[DONE], calls[BUSY], calls[CLOSED]);
  exit(1);
}

static time_t seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec;
}

int main(int argc, char **argv) {
  const char *folder = argc > 1 ? argv[1] : ".";
  size_t before = causerie_handles();
  config = small();
  causerie_dataset *dataset = simulated(folder, config);
  recommender = tuned(dataset, config);
  MUST(causerie_query_parse(FUNNY, strlen(FUNNY), &query));

  void *(*work[])(void *) = {ask, ask, ask, ask, change, settings, settings, join};
  pthread_t threads[8];
  for (int i = 0; i < 8; i++) CHECK(pthread_create(&threads[i], NULL, work[i], NULL) == 0);
  time_t start = seconds();
  while (calls[DONE] < 2000 || calls[BUSY] == 0) nap(start, "2000 calls that succeed and one that is busy");
  /* Freed while they are asked: calls under way end well, later ones are told. */
  causerie_recommender_free(recommender);
  causerie_query_free(query);
  causerie_config_free(config);
  start = seconds();
  while (calls[CLOSED] < 100) nap(start, "100 calls that find their handle closed");
  stop = 1;
  for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);

  causerie_reply *reply = NULL;
  FAILS(causerie_recommend_query(recommender, query, 5, NULL, &reply), CAUSERIE_CLOSED, "causerie_recommender");
  causerie_recommender_free(recommender);
  /* A new handle in the place of a freed one does not answer to the old name. */
  causerie_query *next = NULL;
  MUST(causerie_query_new(&next));
  FAILS(causerie_query_turn(query, CAUSERIE_USER, "x", 1), CAUSERIE_CLOSED, "causerie_query");
  MUST(causerie_query_turn(next, CAUSERIE_USER, "x", 1));
  causerie_query_free(next);
  /* What is no handle at all. */
  int local = 0;
  FAILS(causerie_query_turn((causerie_query *)(void *)&local, CAUSERIE_USER, "x", 1), CAUSERIE_INVALID, "no handle");
  FAILS(causerie_query_turn((causerie_query *)dataset, CAUSERIE_USER, "x", 1), CAUSERIE_INVALID, "causerie_dataset");
  causerie_dataset_free(dataset);
  CHECK(causerie_handles() == before);
  return 0;
}
