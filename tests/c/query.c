/* Queries as handles: they say what the same request says in JSON, are asked by many threads, several in one call, and what
 * they answer outlives the recommender. */
#include "common.h"
#include <math.h>
#include <pthread.h>

static causerie_recommender *recommender;
static causerie_query *common;
static uint64_t best[10];

static void says(causerie_query *query, int32_t role, const char *text) { MUST(causerie_query_turn(query, role, text, strlen(text))); }

/* The query and the request in JSON give the same answer, to the letter, and the same scores. */
static void same(const causerie_query *query, const char *json) {
  causerie_reply *a = NULL, *b = NULL, *c = NULL;
  causerie_query *parsed = NULL;
  MUST(causerie_recommend_query(recommender, query, 10, NULL, &a));
  MUST(causerie_recommend(recommender, json, strlen(json), 10, NULL, &b));
  MUST(causerie_query_parse(json, strlen(json), &parsed));
  MUST(causerie_recommend_query(recommender, parsed, 10, NULL, &c));
  CHECK(strcmp(causerie_reply_json(a), causerie_reply_json(b)) == 0 && strcmp(causerie_reply_json(a), causerie_reply_json(c)) == 0);
  CHECK(strcmp(causerie_reply_text(a), causerie_reply_text(b)) == 0);
  size_t count = causerie_recommender_count(recommender);
  float *x = calloc(count, sizeof *x), *y = calloc(count, sizeof *y);
  CHECK(x != NULL && y != NULL);
  MUST(causerie_score_query(recommender, query, NULL, x, count));
  MUST(causerie_score(recommender, json, strlen(json), NULL, y, count));
  CHECK(memcmp(x, y, count * sizeof *x) == 0);
  free(x), free(y);
  causerie_reply_free(a), causerie_reply_free(b), causerie_reply_free(c);
  causerie_query_free(parsed);
}

/* The same items, and scores that are the same but for the order in which sums were taken. */
static void near(const causerie_reply *a, const causerie_reply *b) {
  size_t count = causerie_reply_count(a);
  CHECK(count == causerie_reply_count(b));
  for (size_t i = 0; i < count; i++) {
    double x = causerie_reply_scores(a, NULL)[i], y = causerie_reply_scores(b, NULL)[i];
    CHECK(causerie_reply_rows(a, NULL)[i] == causerie_reply_rows(b, NULL)[i] && fabs(x - y) <= 1e-5 * (1 + fabs(y)));
  }
}

/* Rows, scores, ids and titles of a reply are those of its JSON. */
static void whole(const causerie_reply *reply) {
  size_t rows = 0, scores = 0;
  const uint64_t *row = causerie_reply_rows(reply, &rows);
  const double *score = causerie_reply_scores(reply, &scores);
  CHECK(rows == causerie_reply_count(reply) && scores == rows && (rows == 0) == (row == NULL) && (rows == 0) == (score == NULL));
  for (size_t i = 0; i < rows; i++) {
    double of_item = 0;
    char expected[4096];
    const char *id = causerie_reply_item(reply, i, &of_item);
    CHECK(of_item == score[i] && (i == 0 || score[i] <= score[i - 1]));
    CHECK(strcmp(id, causerie_recommender_id(recommender, row[i])) == 0);
    uint64_t found = UINT64_MAX;
    MUST(causerie_recommender_find(recommender, id, strlen(id), &found));
    CHECK(found == row[i]);
    snprintf(expected, sizeof expected, "\"item\":\"%s\"", id);
    CHECK(strstr(causerie_reply_json(reply), expected) != NULL && strlen(causerie_reply_title(reply, i)) > 0);
  }
  CHECK(causerie_reply_item(reply, rows, NULL) == NULL && causerie_reply_title(reply, rows) == NULL);
}

static void *ask(void *unused) {
  for (int i = 0; i < 50; i++) {
    causerie_reply *reply = NULL;
    MUST(causerie_recommend_query(recommender, common, 10, NULL, &reply));
    CHECK(causerie_reply_count(reply) == 10 && memcmp(causerie_reply_rows(reply, NULL), best, sizeof best) == 0);
    causerie_reply_free(reply);
  }
  return unused;
}

/* Two threads read the texts of one reply, which are made at that moment. */
static void *reads(void *reply) {
  static const char *const none = "";
  const char *json = causerie_reply_json(reply);
  CHECK(json != none && causerie_reply_text(reply) != none);
  for (size_t i = 0; i < causerie_reply_count(reply); i++) CHECK(causerie_reply_title(reply, i) != NULL);
  return (void *)(uintptr_t)json;
}

int main(int argc, char **argv) {
  const char *folder = argc > 1 ? argv[1] : ".";
  causerie_config *config = small();
  MUST(causerie_config_set(config, "recommend.explain", "1"));
  causerie_dataset *dataset = simulated(folder, config);
  recommender = tuned(dataset, config);
  causerie_query *query = NULL;
  causerie_reply *reply = NULL;
  MUST(causerie_query_new(&query));
  const char *first = causerie_recommender_id(recommender, 0), *third = causerie_recommender_id(recommender, 2);
  char title[256], json[4096];
  snprintf(title, sizeof title, "%s", causerie_dataset_title(dataset, 3));
  char *year = strrchr(title, '(');
  CHECK(year != NULL && year > title);
  year[-1] = 0;

  /* Each part for itself, and all of them together. */
  says(query, CAUSERIE_USER, "something funny and moving");
  same(query, FUNNY);
  says(query, CAUSERIE_ASSISTANT, "how about a \"quiet\" one?");
  says(query, CAUSERIE_USER, "caf\xc3\xa9");
  same(query, "[{\"role\": \"user\", \"text\": \"something funny and moving\"}, {\"role\": \"assistant\", \"text\": \"how about a "
              "\\\"quiet\\\" one?\"}, {\"role\": \"user\", \"text\": \"caf\\u00e9\"}]");
  MUST(causerie_query_clear(query));
  says(query, CAUSERIE_USER, "something funny and moving");
  MUST(causerie_query_seen(query, first, strlen(first)));
  MUST(causerie_query_seen_title(query, title, strlen(title), (uint32_t)atoi(year + 1)));
  MUST(causerie_query_exclude(query, third, strlen(third)));
  MUST(causerie_query_exclude(query, "gone", 4));
  MUST(causerie_query_explain(query, 2));
  snprintf(json, sizeof json,
           "{\"turns\": %s, \"seen\": [{\"item\": \"%s\"}, {\"title\": \"%s\", \"year\": %d}], \"exclude\": [\"%s\", \"gone\"], "
           "\"explain\": 2}",
           FUNNY, first, title, atoi(year + 1), third);
  same(query, json);
  const uint64_t third_row = 2, far = 1000000, few[] = {5, 4, 9, 5};
  MUST(causerie_query_exclude_rows(query, &third_row, 1));
  same(query, json);
  float *scores = calloc(causerie_recommender_count(recommender), sizeof *scores);
  CHECK(scores != NULL);
  MUST(causerie_score_query(recommender, query, NULL, scores, causerie_recommender_count(recommender)));
  CHECK(isinf(scores[0]) && isinf(scores[2]) && isinf(scores[3]) && !isinf(scores[4]));
  free(scores);

  /* Allowed by rows, by ids, by both; what is excluded as well does not come back. */
  MUST(causerie_query_allow_rows(query, few, 4));
  MUST(causerie_query_allow(query, first, strlen(first)));
  MUST(causerie_query_allow(query, "gone", 4));
  MUST(causerie_recommend_query(recommender, query, 10, NULL, &reply));
  CHECK(causerie_reply_count(reply) == 3);
  whole(reply);
  CHECK(causerie_reply_evidence(reply, 0, 0, NULL) != NULL && causerie_reply_evidence_row(reply, 0, 0) < 500);
  CHECK(causerie_reply_evidence_row(reply, 0, 2) == UINT64_MAX && causerie_reply_evidence_row(NULL, 0, 0) == UINT64_MAX);
  causerie_reply_free(reply);
  MUST(causerie_query_clear(query));
  says(query, CAUSERIE_USER, "funny");
  MUST(causerie_query_allow_rows(query, NULL, 0));
  MUST(causerie_recommend_query(recommender, query, 10, NULL, &reply));
  CHECK(causerie_reply_count(reply) == 0 && strcmp(causerie_reply_json(reply), "[]") == 0);
  whole(reply);
  causerie_reply_free(reply), reply = NULL;
  MUST(causerie_query_allow(query, "gone", 4));
  FAILS(causerie_recommend_query(recommender, query, 10, NULL, &reply), CAUSERIE_NOT_FOUND, "gone");
  MUST(causerie_query_allow_rows(query, &far, 1));
  FAILS(causerie_recommend_query(recommender, query, 10, NULL, &reply), CAUSERIE_INVALID, "row 1000000");
  CHECK(reply == NULL);
  FAILS(causerie_query_turn(query, 2, "x", 1), CAUSERIE_INVALID, "role");
  FAILS(causerie_query_turn(query, CAUSERIE_USER, "\xff", 1), CAUSERIE_INVALID, "UTF-8");
  FAILS(causerie_query_seen_title(query, "x", 1, 70000), CAUSERIE_INVALID, "year");
  FAILS(causerie_recommender_find(recommender, "gone", 4, NULL), CAUSERIE_NOT_FOUND, "gone");

  /* Several in one call: each as if alone, but for the last digits; where one fails nothing is written. */
  causerie_query *two = NULL;
  MUST(causerie_query_clear(query));
  says(query, CAUSERIE_USER, "something funny and moving");
  MUST(causerie_query_new(&two));
  says(two, CAUSERIE_USER, "dark, slow, long");
  MUST(causerie_query_exclude_rows(two, few, 4));
  const causerie_query *many[] = {query, two, query};
  causerie_reply *replies[3] = {NULL, NULL, NULL}, *alone = NULL;
  MUST(causerie_recommend_many(recommender, many, 3, 7, NULL, replies));
  for (size_t i = 0; i < 3; i++) {
    MUST(causerie_recommend_query(recommender, many[i], 7, NULL, &alone));
    CHECK(causerie_reply_count(replies[i]) == 7);
    near(replies[i], alone);
    whole(replies[i]);
    causerie_reply_free(alone);
  }
  CHECK(strcmp(causerie_reply_json(replies[0]), causerie_reply_json(replies[1])) != 0);
  size_t items = causerie_recommender_count(recommender);
  float *all = calloc(3 * items, sizeof *all), *one = calloc(items, sizeof *one);
  CHECK(all != NULL && one != NULL);
  MUST(causerie_score_many(recommender, many, 3, NULL, all, 3 * items));
  for (size_t i = 0; i < 3; i++) {
    MUST(causerie_score_query(recommender, many[i], NULL, one, items));
    for (size_t k = 0; k < items; k++) CHECK(one[k] == all[i * items + k] || fabsf(one[k] - all[i * items + k]) <= 1e-5F * (1 + fabsf(one[k])));
  }
  FAILS(causerie_score_many(recommender, many, 2, NULL, all, 3 * items), CAUSERIE_INVALID, "room");
  MUST(causerie_score_many(recommender, NULL, 0, NULL, NULL, 0));
  MUST(causerie_recommend_many(recommender, NULL, 0, 7, NULL, NULL));
  MUST(causerie_query_exclude_rows(two, &far, 1));
  causerie_reply *untouched[3] = {NULL, NULL, NULL};
  FAILS(causerie_recommend_many(recommender, many, 3, 7, NULL, untouched), CAUSERIE_INVALID, "row");
  CHECK(untouched[0] == NULL && untouched[1] == NULL && untouched[2] == NULL);
  free(all), free(one);
  causerie_query_free(two);

  /* Eight threads ask one query. */
  common = query;
  MUST(causerie_recommend_query(recommender, common, 10, NULL, &reply));
  memcpy(best, causerie_reply_rows(reply, NULL), sizeof best);
  pthread_t threads[8];
  for (size_t i = 0; i < 8; i++) CHECK(pthread_create(&threads[i], NULL, ask, NULL) == 0);
  for (size_t i = 0; i < 8; i++) pthread_join(threads[i], NULL);
  void *read[8];
  for (size_t i = 0; i < 8; i++) CHECK(pthread_create(&threads[i], NULL, reads, reply) == 0);
  for (size_t i = 0; i < 8; i++) pthread_join(threads[i], &read[i]);
  for (size_t i = 1; i < 8; i++) CHECK(read[i] == read[0]);
  causerie_reply_free(reply);

  /* An item that joins has the next row; a reply of before, and all replies, outlive what answered. */
  char item[512];
  snprintf(item, sizeof item, "{\"item\": \"new-1\", \"title\": \"Zanzibar Crossing\", \"description\": \"like %s\"}",
           causerie_dataset_title(dataset, 0));
  MUST(causerie_recommender_add(recommender, item, strlen(item), NULL, NULL));
  uint64_t joined = 0;
  MUST(causerie_recommender_find(recommender, "new-1", 5, &joined));
  CHECK(joined == items);
  /* Ids that were borrowed before are still there: they once died when an item joined. */
  CHECK(strcmp(first, causerie_recommender_id(recommender, 0)) == 0 && first == causerie_recommender_id(recommender, 0));
  whole(replies[2]);
  causerie_recommender_free(recommender);
  causerie_dataset_free(dataset);
  CHECK(causerie_reply_title(replies[1], 6) != NULL && strlen(causerie_reply_text(replies[1])) > 10);
  CHECK(strstr(causerie_reply_json(replies[0]), "\"evidence\"") != NULL);
  for (size_t i = 0; i < 3; i++) causerie_reply_free(replies[i]);
  causerie_query_free(query);
  causerie_config_free(config);
  return 0;
}
