/* Answers with reasons: reviews of the item itself, nearest first; and what a recommender holds in memory. */
#include "common.h"

static const char *ASK = "{\"turns\": [{\"role\": \"user\", \"text\": \"something funny and moving\"}], \"explain\": 3}";

int main(int argc, char **argv) {
  const char *folder = argc > 1 ? argv[1] : ".";
  causerie_config *config = small();
  causerie_dataset *dataset = simulated(folder, config);
  causerie_reply *reply = NULL;

  /* As it was: no reasons, and none to be had. */
  causerie_recommender *plain = tuned(dataset, config);
  MUST(causerie_recommend(plain, FUNNY, strlen(FUNNY), 5, NULL, &reply));
  CHECK(causerie_reply_evidence(reply, 0, 0, NULL) == NULL);
  CHECK(strstr(causerie_reply_json(reply), "evidence") == NULL);
  causerie_reply_free(reply);
  FAILS(causerie_recommend(plain, ASK, strlen(ASK), 5, NULL, &reply), CAUSERIE_UNSUPPORTED, "recommend.explain");

  MUST(causerie_config_set(config, "recommend.explain", "1"));
  causerie_recommender *recommender = tuned(dataset, config);
  MUST(causerie_recommend(recommender, ASK, strlen(ASK), 5, NULL, &reply));
  CHECK(causerie_reply_count(reply) == 5);
  size_t spoken = 0;
  for (size_t i = 0; i < 5; i++) {
    double before = 2, similarity = 0;
    for (size_t n = 0;; n++) {
      const char *text = causerie_reply_evidence(reply, i, n, &similarity);
      if (text == NULL) break;
      CHECK(n < 3 && strlen(text) > 0 && similarity <= before && similarity >= -1.001 && similarity <= 1.001);
      before = similarity;
      spoken++;
    }
  }
  CHECK(spoken > 5 && causerie_reply_evidence(reply, 5, 0, NULL) == NULL && causerie_reply_evidence(NULL, 0, 0, NULL) == NULL);
  CHECK(strstr(causerie_reply_json(reply), "\"evidence\"") != NULL && strstr(causerie_reply_json(reply), "\"similarity\"") != NULL);
  causerie_reply_free(reply);
  /* Where the request says nothing the settings do. */
  MUST(causerie_recommend(recommender, FUNNY, strlen(FUNNY), 5, NULL, &reply));
  CHECK(causerie_reply_evidence(reply, 0, 0, NULL) != NULL && causerie_reply_evidence(reply, 0, 1, NULL) == NULL);
  causerie_reply_free(reply);

  /* The rows that explain are held, a new item is, and it has no reviews to speak for it. */
  uint64_t bytes = causerie_recommender_bytes(recommender);
  CHECK(bytes >= causerie_recommender_bytes(plain) + 4 * 16 * causerie_dataset_count(dataset, CAUSERIE_REVIEWS));
  char item[512];
  snprintf(item, sizeof item, "{\"item\": \"new-1\", \"title\": \"Zanzibar Crossing\", \"description\": \"like %s\"}",
           causerie_dataset_title(dataset, 0));
  MUST(causerie_recommender_add(recommender, item, strlen(item), NULL, NULL));
  CHECK(causerie_recommender_bytes(recommender) > bytes && causerie_recommender_bytes(NULL) == 0);
  const char *only = "{\"turns\": [{\"role\": \"user\", \"text\": \"a crossing\"}], \"allow\": [\"new-1\"]}";
  MUST(causerie_recommend(recommender, only, strlen(only), 5, NULL, &reply));
  CHECK(causerie_reply_count(reply) == 1 && causerie_reply_evidence(reply, 0, 0, NULL) == NULL);
  CHECK(strstr(causerie_reply_json(reply), "\"evidence\":[]") != NULL);
  causerie_reply_free(reply);

  /* Reasons of nothing. */
  causerie_recommender *none = NULL;
  MUST(causerie_config_set(config, "recommend.system", "popularity"));
  FAILS(causerie_recommender_new(dataset, NULL, NULL, NULL, config, NULL, &none), CAUSERIE_INVALID, "embeddings");
  CHECK(none == NULL);
  causerie_recommender_free(recommender);
  causerie_recommender_free(plain);
  causerie_dataset_free(dataset);
  causerie_config_free(config);
  return 0;
}
