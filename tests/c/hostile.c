/* Makes one good handle of each noun, has the generated calls tried with them, and sees that the handles still serve and that
 * nothing was written to file descriptors 1 and 2. */
#include "hostile.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

causerie_config *config;
causerie_run *run;
causerie_dataset *dataset;
causerie_embeddings *embeddings;
causerie_selection *selection;
causerie_dialogues *dialogues;
causerie_model *model;
causerie_recommender *recommender;
causerie_query *query;
causerie_reply *reply;
causerie_report *report;
causerie_error *error;
const causerie_recommender *shared;
const causerie_query *asked;
uint64_t counts[64];
const char *names[1] = {"there"};
causerie_answer *other;
char garbage[4096] __attribute__((aligned(16))), huge[1 << 20], deep[1 << 18], zeros[64];
float floats[4096];
causerie_progress progress;
const char *told;
size_t number;
uint64_t big;
double real;
void *made;
static int tries, refusals, saved;

int32_t refuse(const causerie_request *request, causerie_answer *answer, void *data) {
  (void)request, (void)data;
  causerie_error_free(causerie_answer_fail(answer, CAUSERIE_FAIL_REFUSED, 0, "no", 2));
  return 0;
}

void tried(const char *call, causerie_error *e) {
  tries++;
  refusals += e != NULL;
  if (causerie_error_code(e) == CAUSERIE_BUG) dprintf(saved, "%s: %s\n", call, causerie_error_message(e)), _exit(1);
  if (e != NULL && causerie_error_message(e)[0] == 0) dprintf(saved, "%s: an error without a message\n", call), _exit(1);
  causerie_error_free(e);
}

int main(int argc, char **argv) {
  const char *folder = argc > 1 ? argv[1] : ".";
  memset(huge, 'x', sizeof huge - 1);
  memset(deep, '[', sizeof deep - 1);
  memset(garbage, 0x5a, sizeof garbage);
  config = small();
  MUST(causerie_config_set(config, "run.threads", "1"));
  MUST(causerie_run_new(1, &run));
  dataset = simulated(folder, config);
  MUST(causerie_embed(dataset, config, NULL, NULL, &embeddings));
  MUST(causerie_select(dataset, embeddings, NULL, config, NULL, &selection));
  MUST(causerie_synthesize(dataset, selection, config, 1, NULL, NULL, &dialogues));
  MUST(causerie_tune(dialogues, dataset, embeddings, config, NULL, &model));
  MUST(causerie_recommender_new(dataset, embeddings, model, NULL, config, NULL, &recommender));
  MUST(causerie_recommend(recommender, FUNNY, strlen(FUNNY), 3, NULL, &reply));
  error = causerie_config_set(config, "no.such", "1");
  shared = recommender;
  MUST(causerie_query_parse(FUNNY, strlen(FUNNY), &query));
  asked = query;
  const char *talk = "{\"turns\": [{\"role\": \"user\", \"text\": \"funny\"}], \"targets\": [{\"item\": \"i1\"}]}";
  causerie_error *evaluated = causerie_evaluate(&shared, 1, talk, strlen(talk), config, NULL, &report);
  causerie_error_free(evaluated);
  if (report == NULL) {
    /* The simulated domain's own conversations. */
    char toml[8192];
    snprintf(toml, sizeof toml, "[evaluate]\nconversations = [\"%s/conversations.jsonl\"]\nbootstrap = 100\n", folder);
    MUST(causerie_config_read(config, toml, strlen(toml)));
    MUST(causerie_evaluate(&shared, 1, NULL, 0, config, NULL, &report));
  }
  /* No function but the two of a teacher takes an answer: a report's handle is as wrong for all others. */
  other = (causerie_answer *)error;

  int quiet = open("output.txt", O_CREAT | O_TRUNC | O_WRONLY, 0600);
  saved = dup(2);
  int out = dup(1);
  CHECK(quiet >= 0 && saved >= 0 && dup2(quiet, 1) == 1 && dup2(quiet, 2) == 2);
  try_all();
  CHECK(dup2(out, 1) == 1 && dup2(saved, 2) == 2);
  struct stat written;
  CHECK(fstat(quiet, &written) == 0 && written.st_size == 0);

  /* The handles still serve. */
  causerie_run_reset(run);
  causerie_reply_free(reply);
  MUST(causerie_recommend(recommender, FUNNY, strlen(FUNNY), 3, run, &reply));
  CHECK(causerie_reply_count(reply) == 3);
  causerie_reply_free(reply);
  MUST(causerie_query_clear(query));
  MUST(causerie_query_turn(query, CAUSERIE_USER, "funny", 5));
  MUST(causerie_recommend_query(recommender, query, 3, run, &reply));
  CHECK(causerie_reply_count(reply) == 3);
  printf("%d calls, %d refused\n", tries, refusals);
  CHECK(tries > 400 && refusals > 200);
  causerie_error_free(error);
  causerie_report_free(report);
  causerie_reply_free(reply);
  causerie_query_free(query);
  causerie_recommender_free(recommender);
  causerie_model_free(model);
  causerie_dialogues_free(dialogues);
  causerie_selection_free(selection);
  causerie_embeddings_free(embeddings);
  causerie_dataset_free(dataset);
  causerie_run_free(run);
  causerie_config_free(config);
  return 0;
}
