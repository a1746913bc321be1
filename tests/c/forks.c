/* A child made by fork() works, before and after the library was used: its threads are its own. */
#include "common.h"
#include <sys/wait.h>
#include <unistd.h>

static void embed_in_child(const causerie_dataset *dataset, const causerie_config *config, const causerie_run *run,
                           const causerie_recommender *recommender) {
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    alarm(60); /* a hang is a failure */
    causerie_embeddings *embeddings = NULL;
    MUST(causerie_embed(dataset, config, NULL, run, &embeddings));
    causerie_embeddings_free(embeddings);
    if (recommender != NULL) {
      causerie_reply *reply = NULL;
      MUST(causerie_recommend(recommender, FUNNY, strlen(FUNNY), 5, run, &reply));
      CHECK(causerie_reply_count(reply) == 5);
      causerie_reply_free(reply);
    }
    _exit(0);
  }
  int status = 0;
  CHECK(waitpid(pid, &status, 0) == pid);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(int argc, char **argv) {
  const char *folder = argc > 1 ? argv[1] : ".";
  causerie_config *config = small();
  /* Before first use. */
  pid_t pid = fork();
  if (pid == 0) {
    alarm(60);
    causerie_dataset_free(simulated(folder, config));
    _exit(0);
  }
  int status = 0;
  CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  /* After it: handles, runs and pools exist. */
  causerie_run *run = NULL;
  MUST(causerie_run_new(2, &run));
  causerie_dataset *dataset = simulated(folder, config);
  causerie_recommender *recommender = tuned(dataset, config);
  embed_in_child(dataset, config, run, recommender);
  embed_in_child(dataset, config, NULL, recommender);
  causerie_recommender_free(recommender);
  causerie_dataset_free(dataset);
  causerie_run_free(run);
  causerie_config_free(config);
  return 0;
}
