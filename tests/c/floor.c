/* On a processor without AVX2, FMA, F16C and BMI2 (tests/abi/package.rs runs it on an emulated one): language models are
 * refused with an error, not an illegal instruction, and everything else works. argv: a folder, a GGUF. */
#include "common.h"

int main(int argc, char **argv) {
  CHECK(argc == 3);
  const char *folder = argv[1], *version = causerie_version();
  CHECK(strstr(version, "avx2") == NULL && strstr(version, "fma") == NULL);
  causerie_config *config = small();
  MUST(causerie_config_set(config, "run.threads", "1"));
  causerie_dataset *dataset = simulated(folder, config);
  causerie_recommender *recommender = tuned(dataset, config), *lm = NULL;
  causerie_reply *reply = NULL;
  MUST(causerie_recommend(recommender, FUNNY, strlen(FUNNY), 5, NULL, &reply));
  CHECK(causerie_reply_count(reply) == 5);
  causerie_reply_free(reply);
  causerie_recommender_free(recommender);

  FAILS(causerie_recommender_open_lm(dataset, argv[2], NULL, config, NULL, &lm), CAUSERIE_UNSUPPORTED, "AVX2");
  causerie_embeddings *embeddings = NULL;
  MUST(causerie_config_set(config, "embed.method", "lm"));
  MUST(causerie_config_set(config, "embed.model", argv[2]));
  FAILS(causerie_embed(dataset, config, NULL, NULL, &embeddings), CAUSERIE_UNSUPPORTED, "AVX2");
  MUST(causerie_config_set(config, "embed.method", "text"));
  CHECK(lm == NULL && embeddings == NULL);
  causerie_selection *selection = NULL;
  causerie_dialogues *dialogues = NULL;
  causerie_model *model = NULL;
  MUST(causerie_embed(dataset, config, NULL, NULL, &embeddings));
  MUST(causerie_select(dataset, embeddings, NULL, config, NULL, &selection));
  MUST(causerie_synthesize(dataset, selection, config, 1, NULL, NULL, &dialogues));
  MUST(causerie_config_set(config, "tune.method", "lora"));
  FAILS(causerie_tune_lm(dialogues, NULL, argv[2], in(folder, "student"), config, NULL, &model), CAUSERIE_UNSUPPORTED, "AVX2");
  CHECK(model == NULL);
  causerie_dialogues_free(dialogues);
  causerie_selection_free(selection);
  causerie_embeddings_free(embeddings);
  printf("%s\n", version);
  causerie_dataset_free(dataset);
  causerie_config_free(config);
  return 0;
}
