/* Selection as the command can: caps and rows forced in and out by the settings, rows mapped from a file, a checkpoint, and
 * parts on several machines. */
#include "common.h"

static void picks_equal(const causerie_selection *a, const causerie_selection *b) {
  size_t n = 0, m = 0;
  const uint64_t *x = causerie_selection_rows(a, &n), *y = causerie_selection_rows(b, &m);
  CHECK(n == m && n == 20 && memcmp(x, y, n * sizeof *x) == 0);
}

/* The item of each review, by its line in the file that was read. */
static size_t items_of(const char *file, char (*items)[32], size_t most) {
  FILE *lines = fopen(file, "r");
  CHECK(lines != NULL);
  static char line[1 << 16];
  size_t n = 0;
  while (n < most && fgets(line, sizeof line, lines) != NULL) {
    const char *at = strstr(line, "\"item\":");
    CHECK(at != NULL && sscanf(at + 7, " \"%31[^\"]", items[n]) == 1);
    n++;
  }
  fclose(lines);
  return n;
}

static int32_t stop_after_ten(const causerie_progress *progress, void *unused) {
  (void)unused;
  return strcmp(progress->unit, "picks") == 0 && progress->done >= 10;
}

int main(int argc, char **argv) {
  const char *folder = argc > 1 ? argv[1] : ".";
  causerie_config *config = small();
  causerie_dataset *dataset = simulated(folder, config);
  causerie_embeddings *whole = NULL, *mapped = NULL, *half = NULL;
  causerie_selection *selection = NULL, *again = NULL;
  MUST(causerie_embed(dataset, config, NULL, NULL, &whole));
  size_t rows = 0, dim = 0, mapped_rows = 0, mapped_dim = 0;
  CHECK(causerie_embeddings_data(whole, &rows, &dim) != NULL);
  MUST(causerie_select(NULL, whole, NULL, config, NULL, &selection));

  /* Mapped rows are selected on as those in memory are; nothing else is done with them. */
  MUST(causerie_embeddings_save(whole, in(folder, "rows.safetensors")));
  MUST(causerie_embeddings_open(in(folder, "rows.safetensors"), &mapped));
  CHECK(causerie_embeddings_data(mapped, &mapped_rows, &mapped_dim) == NULL && mapped_rows == rows && mapped_dim == dim);
  MUST(causerie_select(NULL, mapped, NULL, config, NULL, &again));
  picks_equal(selection, again);
  causerie_selection_free(again), again = NULL;
  FAILS(causerie_embeddings_save(mapped, in(folder, "no.safetensors")), CAUSERIE_INVALID, "mapped");
  FAILS(causerie_embeddings_open(in(folder, "reviews.jsonl"), &half), CAUSERIE_FORMAT, NULL);
  FAILS(causerie_embeddings_open(in(folder, "gone"), &half), CAUSERIE_NOT_FOUND, "gone");
  FAILS(causerie_embeddings_pack(whole, "f12", in(folder, "half.safetensors"), NULL), CAUSERIE_INVALID, "f12");

  /* Half the bytes; embed.store gives the same values in memory, and so the same picks. */
  causerie_embeddings *stored = NULL;
  MUST(causerie_embeddings_pack(mapped, "f16", in(folder, "half.safetensors"), NULL));
  MUST(causerie_embeddings_open(in(folder, "half.safetensors"), &half));
  MUST(causerie_config_set(config, "embed.store", "f16"));
  MUST(causerie_embed(dataset, config, NULL, NULL, &stored));
  MUST(causerie_config_set(config, "embed.store", "f32"));
  CHECK(memcmp(causerie_embeddings_data(stored, NULL, NULL), causerie_embeddings_data(whole, NULL, NULL), rows * dim * 4) != 0);
  causerie_selection *of_half = NULL;
  MUST(causerie_select(NULL, half, NULL, config, NULL, &of_half));
  MUST(causerie_select(NULL, stored, NULL, config, NULL, &again));
  picks_equal(of_half, again);
  causerie_selection_free(again), again = NULL;
  causerie_selection_free(of_half);
  causerie_embeddings_free(stored);
  causerie_embeddings_free(half);

  /* Caps need to know whose review a row is; forced rows come first, excluded ones not at all. */
  static char items[1000][32];
  CHECK(items_of(in(folder, "reviews.jsonl"), items, 1000) == rows);
  MUST(causerie_config_set(config, "select.max_per_item", "1"));
  FAILS(causerie_select(NULL, mapped, NULL, config, NULL, &again), CAUSERIE_INVALID, "need the dataset");
  size_t count = 0;
  uint64_t first = causerie_selection_rows(selection, &count)[0];
  char row[32];
  snprintf(row, sizeof row, "%lu", (unsigned long)first);
  MUST(causerie_config_set(config, "select.exclude", row));
  MUST(causerie_config_set(config, "select.force", "7"));
  MUST(causerie_select(dataset, mapped, NULL, config, NULL, &again));
  const uint64_t *picks = causerie_selection_rows(again, &count);
  CHECK(count == 20 && picks[0] == 7);
  for (size_t i = 0; i < count; i++) {
    CHECK(picks[i] != first);
    for (size_t k = 0; k < i; k++) CHECK(strcmp(items[picks[i]], items[picks[k]]) != 0);
  }

  /* Stopped after ten picks, and gone on with: the same picks; then the checkpoint is gone. */
  causerie_run *run = NULL;
  causerie_selection *kept = NULL;
  char *checkpoint = in(folder, "picks.json");
  MUST(causerie_config_set(config, "select.checkpoint_s", "0"));
  MUST(causerie_run_new(1, &run));
  MUST(causerie_run_on_progress(run, stop_after_ten, NULL));
  FAILS(causerie_select_keeping(dataset, mapped, NULL, checkpoint, config, run, &kept), CAUSERIE_CANCELLED, NULL);
  FILE *there = fopen(checkpoint, "r");
  CHECK(kept == NULL && there != NULL);
  fclose(there);
  causerie_run_reset(run);
  MUST(causerie_run_on_progress(run, NULL, NULL));
  MUST(causerie_select_keeping(dataset, mapped, NULL, checkpoint, config, run, &kept));
  picks_equal(again, kept);
  CHECK(fopen(checkpoint, "r") == NULL);
  causerie_selection_free(kept);
  causerie_run_free(run);

  /* Three parts, laid together. */
  char part[3][4096], merged[4096];
  const char *files[3] = {part[0], part[1], part[2]};
  for (uint64_t i = 0; i < 3; i++) {
    snprintf(part[i], sizeof part[i], "%s/part-%lu.json", folder, (unsigned long)i);
    MUST(causerie_select_part(dataset, mapped, i, 3, config, NULL, part[i]));
  }
  snprintf(merged, sizeof merged, "%s/merged.json", folder);
  FAILS(causerie_select_part(dataset, mapped, 3, 3, config, NULL, part[0]), CAUSERIE_INVALID, "part 3 of 3");
  FAILS(causerie_select_merge(files, 2, merged), CAUSERIE_INVALID, "missing");
  FAILS(causerie_select_merge(NULL, 0, merged), CAUSERIE_INVALID, "no parts");
  MUST(causerie_select_merge(files, 3, merged));
  MUST(causerie_select_finalise(dataset, mapped, merged, config, NULL, &kept));
  picks = causerie_selection_rows(kept, &count);
  CHECK(count == 20 && picks[0] == 7);
  for (size_t i = 0; i < count; i++)
    for (size_t k = 0; k < i; k++) CHECK(picks[i] != first && strcmp(items[picks[i]], items[picks[k]]) != 0);
  CHECK(strstr(causerie_selection_report(kept), "\"share_of_best\"") != NULL);
  causerie_selection_free(kept), kept = NULL;
  MUST(causerie_config_set(config, "select.force", "8"));
  FAILS(causerie_select_finalise(dataset, mapped, merged, config, NULL, &kept), CAUSERIE_INVALID, "another selection");
  CHECK(kept == NULL);

  CHECK(strstr(causerie_selection_report(again), "\"cost\":{\"seconds\":") != NULL);

  /* JS on centres: fitted once for all parts, of the dataset's features too; the report says what the parts lost. */
  char *centers = in(folder, "centers.safetensors");
  causerie_selection *given = NULL;
  MUST(causerie_config_set(config, "select.strategy", "metadata_js"));
  FAILS(causerie_select_part(dataset, mapped, 0, 3, config, NULL, part[0]), CAUSERIE_INVALID, "select.centers");
  MUST(causerie_select_centers(dataset, mapped, config, NULL, centers));
  MUST(causerie_config_set(config, "select.centers", centers));
  MUST(causerie_select_part(dataset, mapped, 0, 3, config, NULL, part[0]));
  MUST(causerie_config_set(config, "select.centers", ""));
  MUST(causerie_config_set(config, "select.strategy", "js"));
  MUST(causerie_select_centers(dataset, mapped, config, NULL, centers));
  MUST(causerie_select(dataset, mapped, NULL, config, NULL, &kept));
  MUST(causerie_config_set(config, "select.centers", centers));
  MUST(causerie_select(dataset, mapped, NULL, config, NULL, &given));
  picks_equal(kept, given);
  causerie_selection_free(kept), kept = NULL;
  causerie_selection_free(given);
  for (uint64_t i = 1; i < 3; i++) MUST(causerie_select_part(dataset, mapped, i, 3, config, NULL, part[i]));
  FAILS(causerie_select_merge(files, 3, merged), CAUSERIE_INVALID, "give every part the same select.centers");
  MUST(causerie_select_part(dataset, mapped, 0, 3, config, NULL, part[0]));
  MUST(causerie_select_merge(files, 3, merged));
  MUST(causerie_config_set(config, "select.compare_whole", "always"));
  MUST(causerie_select_finalise(dataset, mapped, merged, config, NULL, &kept));
  CHECK(strstr(causerie_selection_report(kept), "\"loss\":") != NULL);
  CHECK(strstr(causerie_selection_report(kept), "\"centers\":\"") != NULL);
  causerie_selection_free(kept), kept = NULL;
  MUST(causerie_config_set(config, "select.centers", in(folder, "reviews.jsonl")));
  FAILS(causerie_select_finalise(dataset, mapped, merged, config, NULL, &kept), CAUSERIE_FORMAT, "reviews.jsonl");
  MUST(causerie_config_set(config, "select.centers", in(folder, "rows.safetensors")));
  FAILS(causerie_select_finalise(dataset, mapped, merged, config, NULL, &kept), CAUSERIE_INVALID, "other select.centers");
  MUST(causerie_config_set(config, "select.strategy", "fisher"));
  FAILS(causerie_select_centers(dataset, mapped, config, NULL, centers), CAUSERIE_INVALID, "uses no clusters");

  causerie_selection_free(again);
  causerie_selection_free(selection);
  causerie_embeddings_free(mapped);
  causerie_embeddings_free(whole);
  causerie_dataset_free(dataset);
  causerie_config_free(config);
  return 0;
}
