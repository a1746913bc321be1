/* Fifty times open, use, free: resident memory stays flat. Nothing is ever written to file descriptors 1 and 2. */
#include "common.h"
#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <sys/stat.h>
#include <unistd.h>

static long anonymous_kib(void) {
  FILE *file = fopen("/proc/self/status", "r");
  char line[256];
  long kib = 0;
  while (file != NULL && fgets(line, sizeof line, file) != NULL)
    if (sscanf(line, "RssAnon: %ld kB", &kib) == 1) break;
  if (file != NULL) fclose(file);
  return kib;
}

/* Threads that do not bear our name: the main one alone, for the library starts no pool but its own. */
static int foreign_threads(void) {
  int count = 0;
  DIR *tasks = opendir("/proc/self/task");
  CHECK(tasks != NULL);
  for (struct dirent *task; (task = readdir(tasks)) != NULL;) {
    char path[600], name[64] = "";
    snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
    FILE *file = task->d_name[0] == '.' ? NULL : fopen(path, "r");
    if (file == NULL) continue;
    if (fgets(name, sizeof name, file) != NULL && strncmp(name, "causerie-", 9) != 0) count++;
    fclose(file);
  }
  closedir(tasks);
  return count;
}

static void cycle(const causerie_dataset *dataset, const causerie_config *config) {
  causerie_recommender *recommender = tuned(dataset, config);
  causerie_reply *reply = NULL;
  MUST(causerie_recommend(recommender, FUNNY, strlen(FUNNY), 5, NULL, &reply));
  causerie_reply_free(reply);
  causerie_query *query = NULL;
  MUST(causerie_query_new(&query));
  MUST(causerie_query_turn(query, CAUSERIE_USER, "something funny", 15));
  const causerie_query *twice[] = {query, query};
  causerie_reply *replies[2];
  MUST(causerie_recommend_many(recommender, twice, 2, 5, NULL, replies));
  CHECK(strcmp(causerie_reply_json(replies[0]), causerie_reply_json(replies[1])) == 0 && causerie_reply_title(replies[1], 0) != NULL);
  causerie_reply_free(replies[0]), causerie_reply_free(replies[1]);
  MUST(causerie_query_clear(query));
  causerie_query_free(query);
  FAILS(causerie_recommend(recommender, "[", 1, 5, NULL, &reply), CAUSERIE_INVALID, "parse");
  causerie_recommender_free(recommender);
}

int main(int argc, char **argv) {
  const char *folder = argc > 1 ? argv[1] : ".";
  int cycles = argc > 2 ? atoi(argv[2]) : 50;
  char quiet[4096];
  snprintf(quiet, sizeof quiet, "%s/output.txt", folder);
  causerie_config *config = small();
  /* What the library would print goes to a file that must stay empty. */
  int out = open(quiet, O_CREAT | O_TRUNC | O_WRONLY, 0600), saved[2] = {dup(1), dup(2)};
  CHECK(out >= 0 && saved[0] >= 0 && saved[1] >= 0 && dup2(out, 1) == 1 && dup2(out, 2) == 2);
  causerie_dataset *dataset = simulated(folder, config);
  for (int i = 0; i < cycles / 2; i++) cycle(dataset, config);
  malloc_trim(0);
  long before = anonymous_kib();
  for (int i = 0; i < cycles - cycles / 2; i++) cycle(dataset, config);
  malloc_trim(0);
  long after = anonymous_kib();
  CHECK(foreign_threads() == 1);
  causerie_dataset_free(dataset);
  causerie_config_free(config);
  struct stat written;
  CHECK(dup2(saved[0], 1) == 1 && dup2(saved[1], 2) == 2 && fstat(out, &written) == 0);
  CHECK(written.st_size == 0);
  printf("RssAnon %ld KiB, then %ld KiB\n", before, after);
  CHECK(cycles < 20 || after < before + 3000);
  return 0;
}
