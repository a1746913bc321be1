/* A language model in the loop, over C: a run tunes one, its directory opens as "lm", which takes items and adapters while it
 * serves; causerie_tune_lm tunes another, is cancelled and goes on. argv: a folder, a GGUF. */
#include "common.h"

static causerie_run *watched;

/* Cancels once the first step of tuning is reported. */
static int32_t stop_tuning(const causerie_progress *progress, void *stopped) {
  if (strcmp(progress->stage, "tune") != 0 || strcmp(progress->unit, "steps") != 0) return 0;
  *(int *)stopped = 1;
  return 1;
}

int main(int argc, char **argv) {
  CHECK(argc > 2);
  const char *folder = argv[1], *base = argv[2];
  char toml[8192];
  causerie_config *config = small();
  snprintf(toml, sizeof toml,
           "[run]\nthreads = 1\n[simulate]\nreviews = 200\nconversations = 5\n[dataset]\nitems = [\"%s/items.jsonl\"]\nreviews = [\"%s/reviews.jsonl\"]\n"
           "interactions = [\"%s/interactions.csv\"]\n[embed]\nmax_tokens = 32\n[pipeline]\nrounds = 1\nbudget = 20\n"
           "strategies = [\"fisher\"]\nnaive = false\n[tune]\nmethod = \"lora\"\nobjective = \"text\"\nepochs = 1\n"
           "model = \"%s\"\nmax_tokens = 256\nlearning_rate = 0.005\n"
           "[evaluate]\nconversations = [\"%s/conversations.jsonl\"]\nbootstrap = 100\nexamples = 0\n"
           "[recommend]\nexplain = 1\ncontext_tokens = 512\n",
           folder, folder, folder, argv[2], folder);
  MUST(causerie_config_read(config, toml, strlen(toml)));
  MUST(causerie_simulate(config, folder, NULL));
  const char *work = in(folder, "work");
  char pairs[4200], own[4200], adapter[4200];
  snprintf(pairs, sizeof pairs, "%s/fisher/round-1/dialogues.jsonl", work);
  snprintf(adapter, sizeof adapter, "%s/fisher/round-1/student/adapter.gguf", work);
  snprintf(own, sizeof own, "%s/own", folder);
  MUST(causerie_pipeline(config, work, 0, NULL, NULL));

  /* Served from the directory. */
  causerie_recommender *lm = NULL;
  causerie_reply *reply = NULL;
  uint64_t generation = 0;
  MUST(causerie_config_set(config, "recommend.system", "lm"));
  MUST(causerie_recommender_open(work, NULL, config, NULL, &lm));
  CHECK(causerie_recommender_count(lm) == 60 && causerie_recommender_bytes(lm) > 1000000);
  MUST(causerie_recommend(lm, FUNNY, strlen(FUNNY), 5, NULL, &reply));
  CHECK(causerie_reply_count(reply) == 5 && causerie_reply_evidence(reply, 0, 0, NULL) != NULL);
  causerie_reply_free(reply);
  const char *item = "{\"item\": \"new-1\", \"title\": \"Zanzibar Crossing\", \"year\": 2026}";
  MUST(causerie_recommender_add(lm, item, strlen(item), NULL, NULL));
  const char *only = "{\"turns\": [{\"role\": \"user\", \"text\": \"a crossing\"}], \"allow\": [\"new-1\"]}";
  MUST(causerie_recommend(lm, only, strlen(only), 5, NULL, &reply));
  CHECK(causerie_reply_count(reply) == 1 && strcmp(causerie_reply_item(reply, 0, NULL), "new-1") == 0);
  causerie_reply_free(reply);
  MUST(causerie_recommender_swap_adapter(lm, 1, NULL, 1, &generation));
  MUST(causerie_recommend(lm, FUNNY, strlen(FUNNY), 5, NULL, &reply));
  CHECK(generation == 2 && causerie_reply_count(reply) == 5);
  causerie_reply_free(reply);
  MUST(causerie_recommender_roll_back(lm, 2, &generation));
  CHECK(generation == 3);
  causerie_recommender_free(lm);

  /* Tuned by itself: cancelled at the first step, then to its end; and it serves. */
  causerie_dialogues *dialogues = NULL;
  causerie_dataset *dataset = NULL;
  causerie_model *model = NULL;
  int stopped = 0;
  MUST(causerie_dialogues_load(pairs, &dialogues, NULL));
  MUST(causerie_dataset_import(config, NULL, &dataset, NULL));
  MUST(causerie_run_new(1, &watched));
  MUST(causerie_run_on_progress(watched, stop_tuning, &stopped));
  FAILS(causerie_tune_lm(dialogues, dataset, base, own, config, watched, &model), CAUSERIE_CANCELLED, NULL);
  CHECK(stopped && model == NULL);
  causerie_run_reset(watched);
  MUST(causerie_run_on_progress(watched, NULL, NULL));
  MUST(causerie_tune_lm(dialogues, dataset, base, own, config, watched, &model));
  CHECK(strstr(causerie_model_file(model), "adapter.gguf") != NULL && strstr(causerie_model_report(model), "loss") != NULL);
  FAILS(causerie_model_save(model, in(folder, "none")), CAUSERIE_INVALID, NULL);
  MUST(causerie_config_set(config, "recommend.explain", "0"));
  MUST(causerie_recommender_open_lm(dataset, base, causerie_model_file(model), config, NULL, &lm));
  MUST(causerie_recommender_swap_adapter(lm, 1, adapter, 1, &generation));
  MUST(causerie_recommend(lm, FUNNY, strlen(FUNNY), 5, NULL, &reply));
  CHECK(causerie_reply_count(reply) == 5 && generation == 2);
  causerie_reply_free(reply);
  causerie_recommender_free(lm);
  causerie_model_free(model);
  FAILS(causerie_tune_lm(dialogues, NULL, in(folder, "items.jsonl"), own, config, NULL, &model), CAUSERIE_FORMAT, NULL);
  causerie_run_free(watched);
  causerie_dialogues_free(dialogues);
  causerie_dataset_free(dataset);
  causerie_config_free(config);
  return 0;
}
