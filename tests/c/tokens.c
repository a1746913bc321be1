/* The text of a language model arrives while it is written, on the caller's thread; a callback that has heard enough ends the
 * call. argv: a folder, a GGUF. */
#include "common.h"
#include <pthread.h>

struct heard {
  char text[65536];
  size_t len, pieces, ends, stop_at;
  pthread_t caller;
};

static int32_t hear(const char *text, size_t len, void *data) {
  struct heard *heard = data;
  CHECK(pthread_equal(pthread_self(), heard->caller) && text[len] == 0);
  CHECK(heard->len + len < sizeof heard->text);
  memcpy(heard->text + heard->len, text, len);
  heard->len += len;
  if (len == 0) heard->ends++;
  return ++heard->pieces == heard->stop_at;
}

int main(int argc, char **argv) {
  CHECK(argc > 2);
  static struct heard heard;
  heard.caller = pthread_self();
  causerie_config *config = small();
  causerie_dataset *dataset = simulated(argv[1], config);
  causerie_recommender *recommender = NULL;
  causerie_reply *reply = NULL;
  causerie_run *run = NULL;
  MUST(causerie_run_new(1, &run));
  MUST(causerie_run_on_token(run, hear, &heard));
  MUST(causerie_config_set(config, "recommend.mode", "generate"));
  MUST(causerie_config_set(config, "recommend.context_tokens", "256"));
  MUST(causerie_recommender_open_lm(dataset, argv[2], NULL, config, NULL, &recommender));

  MUST(causerie_recommend(recommender, FUNNY, strlen(FUNNY), 2, run, &reply));
  CHECK(heard.pieces > 3 && heard.ends == 1 && heard.len > 10);
  causerie_reply_free(reply);
  reply = NULL;

  heard.stop_at = heard.pieces + 2;
  FAILS(causerie_recommend(recommender, FUNNY, strlen(FUNNY), 2, run, &reply), CAUSERIE_CANCELLED, NULL);
  CHECK(heard.pieces == heard.stop_at && heard.ends == 1 && reply == NULL);
  causerie_run_reset(run);
  /* Nobody listens any more. */
  MUST(causerie_run_on_token(run, NULL, NULL));
  MUST(causerie_recommend(recommender, FUNNY, strlen(FUNNY), 2, run, &reply));
  CHECK(heard.pieces == heard.stop_at);
  causerie_reply_free(reply);
  causerie_recommender_free(recommender);

  /* The teacher that is a GGUF. It is no good one: its answers come to nothing, but they are heard. */
  causerie_embeddings *embeddings = NULL;
  causerie_selection *selection = NULL;
  causerie_dialogues *dialogues = NULL;
  MUST(causerie_config_set(config, "select.budget", "1"));
  MUST(causerie_config_set(config, "synthesize.teacher", "local"));
  MUST(causerie_config_set(config, "synthesize.model", argv[2]));
  MUST(causerie_config_set(config, "synthesize.answer_tokens", "16"));
  MUST(causerie_run_on_token(run, hear, &heard));
  heard.stop_at = 0;
  size_t before = heard.len;
  MUST(causerie_embed(dataset, config, NULL, NULL, &embeddings));
  MUST(causerie_select(dataset, embeddings, NULL, config, NULL, &selection));
  causerie_error_free(causerie_synthesize(dataset, selection, config, 1, NULL, run, &dialogues));
  CHECK(heard.len > before && heard.ends > 1);
  causerie_dialogues_free(dialogues);
  causerie_selection_free(selection);
  causerie_embeddings_free(embeddings);
  causerie_run_free(run);
  causerie_dataset_free(dataset);
  causerie_config_free(config);
  return 0;
}
