/* What once broke the boundary from C: an Arrow batch of four billion null rows ended the process; an embedding without a folder
 * met the leavings of a killed process of the same number, and its rows lay readable by all. argv: a folder. */
#include "common.h"
#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static int released;
static void end_schema(struct ArrowSchema *s) { released++, s->release = NULL; }
static void end_array(struct ArrowArray *a) { released++, a->release = NULL; }

/* A batch of `length` rows whose two columns are of type null: no bytes at all. */
static void null_rows(int64_t length) {
  static const char *const names[] = {"item", "title"};
  struct ArrowSchema columns[2], *schemas[2], schema = {.format = "+s", .name = "", .n_children = 2, .children = schemas, .release = end_schema};
  struct ArrowArray values[2], *arrays[2], array = {.length = length, .n_buffers = 1, .n_children = 2, .children = arrays, .release = end_array};
  const void *none[1] = {NULL};
  array.buffers = none;
  for (int i = 0; i < 2; i++) {
    columns[i] = (struct ArrowSchema){.format = "n", .name = names[i], .release = end_schema};
    values[i] = (struct ArrowArray){.length = length, .null_count = length, .release = end_array};
    schemas[i] = &columns[i], arrays[i] = &values[i];
  }
  causerie_dataset *dataset = NULL;
  MUST(causerie_dataset_new(NULL, &dataset));
  size_t dropped = 77;
  released = 0;
  causerie_error *error = causerie_dataset_add_arrow(dataset, CAUSERIE_ITEMS, &schema, &array, &dropped);
  int32_t code = causerie_error_code(error);
  if (code != CAUSERIE_FORMAT && code != CAUSERIE_MEMORY && code != CAUSERIE_INVALID) {
    fprintf(stderr, "%lld null rows: code %d: %s\n", (long long)length, code, causerie_error_message(error));
    exit(1);
  }
  CHECK(causerie_error_message(error)[0] != 0 && dropped == 77);
  causerie_error_free(error);
  CHECK(schema.release == NULL && array.release == NULL && released >= 2);
  CHECK(causerie_dataset_count(dataset, CAUSERIE_ITEMS) == 0);
  causerie_dataset_free(dataset);
}

/* Folders under `temporary` that others may read. */
static int readable_by_others(const char *temporary) {
  int found = 0;
  DIR *names = opendir(temporary);
  CHECK(names != NULL);
  for (struct dirent *entry; (entry = readdir(names)) != NULL;) {
    struct stat s;
    if (entry->d_name[0] != '.' && stat(in(temporary, entry->d_name), &s) == 0 && (s.st_mode & 077) != 0) found++;
  }
  closedir(names);
  return found;
}

static int entries(const char *temporary) {
  int found = 0;
  DIR *names = opendir(temporary);
  CHECK(names != NULL);
  for (struct dirent *entry; (entry = readdir(names)) != NULL;) found += entry->d_name[0] != '.';
  closedir(names);
  return found;
}

static const char *looked_at;
static int others, most;
static int32_t look(const causerie_progress *progress, void *data) {
  (void)progress, (void)data;
  others += readable_by_others(looked_at);
  int now = entries(looked_at);
  if (now > most) most = now;
  return 0;
}

int main(int argc, char **argv) {
  const char *folder = argc > 1 ? argv[1] : ".";
  /* Memory is bounded, so that a row kept for each null is an error here and not the end of the machine. Sanitizers need more. */
  if (argc > 2) {
    struct rlimit limit = {(rlim_t)4 << 30, (rlim_t)4 << 30};
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
  }
  null_rows(3);
  null_rows(200000000);
  null_rows(4294967295LL);
  null_rows(INT64_MAX);

  /* The names that a process of this number once took, left by one that was killed. */
  char temporary[4096];
  snprintf(temporary, sizeof temporary, "%s/temporary", folder);
  CHECK(mkdir(temporary, 0777) == 0 && setenv("TMPDIR", temporary, 1) == 0);
  int left = 8;
  for (int i = 0; i < left; i++) {
    char name[5000];
    snprintf(name, sizeof name, "%s/causerie-%d-%d", temporary, (int)getpid(), i);
    CHECK(mkdir(name, 0700) == 0);
  }
  causerie_config *config = small();
  causerie_dataset *dataset = simulated(folder, config);
  causerie_run *run = NULL;
  causerie_embeddings *embeddings = NULL;
  looked_at = temporary;
  MUST(causerie_run_new(1, &run));
  MUST(causerie_run_on_progress(run, look, NULL));
  for (int i = 0; i < 3; i++) {
    MUST(causerie_embed(dataset, config, NULL, run, &embeddings));
    causerie_embeddings_free(embeddings);
  }
  /* Nobody else reads it, and it is gone: also after a call that was cancelled. */
  CHECK(others == 0 && entries(temporary) == left);
  causerie_run_cancel(run);
  FAILS(causerie_embed(dataset, config, NULL, run, &embeddings), CAUSERIE_CANCELLED, NULL);
  CHECK(entries(temporary) == left);
  printf("%d names beside the %d that were left\n", most - left, left);
  causerie_run_free(run);
  causerie_dataset_free(dataset);
  causerie_config_free(config);
  return 0;
}
