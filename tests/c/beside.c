/* A program that has a llama.cpp of its own (here: functions of the same names that end the process when they are called)
 * links with causerie, statically and shared, and each calls its own. */
#include "common.h"

#define TAKEN(name) \
  void name(void);  \
  void name(void) { fprintf(stderr, "causerie called the program's " #name "\n"), abort(); }
TAKEN(llama_backend_init)
TAKEN(llama_model_load_from_file)
TAKEN(llama_model_default_params)
TAKEN(llama_log_set)
TAKEN(ggml_init)
TAKEN(ggml_free)
TAKEN(ggml_set_abort_callback)
TAKEN(gguf_init_from_file)
TAKEN(ZSTD_compress)
TAKEN(rust_eh_personality)

int main(int argc, char **argv) {
  CHECK(causerie_abi() == CAUSERIE_ABI);
  causerie_config *config = small();
  /* llama.cpp is started, and refuses what is no model. */
  const char *folder = argc > 1 ? argv[1] : ".";
  causerie_dataset *dataset = simulated(folder, config);
  causerie_recommender *recommender = NULL;
  causerie_error *error = causerie_recommender_open_lm(dataset, in(folder, "items.jsonl"), NULL, config, NULL, &recommender);
  CHECK(error != NULL && recommender == NULL && causerie_error_code(error) != CAUSERIE_BUG);
  causerie_error_free(error);
  /* A genuine one, where it is given. */
  if (argc > 2) {
    MUST(causerie_config_set(config, "recommend.context_tokens", "256"));
    MUST(causerie_recommender_open_lm(dataset, argv[2], NULL, config, NULL, &recommender));
    causerie_reply *reply = NULL;
    MUST(causerie_recommend(recommender, FUNNY, strlen(FUNNY), 3, NULL, &reply));
    CHECK(causerie_reply_count(reply) == 3);
    causerie_reply_free(reply);
    const char *item = "{\"item\": \"new-1\", \"title\": \"Zanzibar Crossing\", \"year\": 2026}";
    size_t count = causerie_recommender_count(recommender);
    MUST(causerie_recommender_add(recommender, item, strlen(item), NULL, NULL));
    CHECK(causerie_recommender_count(recommender) == count + 1);
    const char *only = "{\"turns\": [{\"role\": \"user\", \"text\": \"a crossing\"}], \"allow\": [\"new-1\"]}";
    MUST(causerie_recommend(recommender, only, strlen(only), 3, NULL, &reply));
    CHECK(causerie_reply_count(reply) == 1 && strcmp(causerie_reply_item(reply, 0, NULL), "new-1") == 0);
    causerie_reply_free(reply);
    uint64_t generation = 0;
    MUST(causerie_recommender_generation(recommender, &generation));
    CHECK(generation == 1);
    MUST(causerie_recommender_swap_adapter(recommender, 1, NULL, 1, &generation));
    CHECK(generation == 2);
    FAILS(causerie_recommender_swap_adapter(recommender, 1, NULL, 1, &generation), CAUSERIE_INVALID, "generation");
    MUST(causerie_recommender_roll_back(recommender, 2, NULL));
    causerie_recommender_free(recommender);
  }
  causerie_dataset_free(dataset);
  causerie_config_free(config);
  return 0;
}
