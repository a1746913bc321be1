/* The whole loop in C: load, embed, select, synthesize (with the built-in teacher, then with one of our own), tune,
 * recommend, evaluate.   cc loop.c $(pkg-config --cflags --libs causerie) -o loop && ./loop /tmp/somewhere           */
#include <causerie.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A call that fails ends this program with its message. */
#define MUST(call) must((call), __LINE__)
static void must(causerie_error *error, int line) {
  if (error == NULL) return;
  fprintf(stderr, "loop.c:%d: %s (code %d)\n", line, causerie_error_message(error), causerie_error_code(error));
  causerie_error_free(error);
  exit(1);
}

static int32_t on_progress(const causerie_progress *p, void *user_data) {
  unsigned long *reports = user_data;
  ++*reports;
  return p->stage[0] == '\0'; /* 0 goes on */
}

/* Our own teacher. A service would ask its LLM with r->prompt; this one makes do with the catalogue. */
static int32_t teacher(const causerie_request *r, causerie_answer *answer, void *user_data) {
  const causerie_dataset *dataset = user_data;
  size_t items = causerie_dataset_count(dataset, CAUSERIE_ITEMS);
  char text[8192];
  size_t len = 0;
  if (r->kind == CAUSERIE_ASK_QUERY) {
    len += (size_t)snprintf(text, sizeof text, "1. I would like something moving for evening number %llu, not too long.",
                            (unsigned long long)(r->seed % 1000));
  } else {
    for (size_t i = 0; i < 20 && i < items; i++) {
      const char *title = causerie_dataset_title(dataset, (r->seed + i * 7) % items);
      len += (size_t)snprintf(text + len, sizeof text - len, "%zu. %.200s\n", i + 1, title);
    }
  }
  causerie_error *error = causerie_answer_set(answer, text, len, r->prompt_len / 4, len / 4);
  causerie_error_free(error);
  return error != NULL;
}

static char *read_file(const char *path, size_t *len) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) { perror(path); exit(1); }
  fseek(file, 0, SEEK_END);
  *len = (size_t)ftell(file);
  rewind(file);
  char *text = malloc(*len + 1);
  if (text == NULL || fread(text, 1, *len, file) != *len) { perror(path); exit(1); }
  fclose(file);
  return text;
}

static char *in(const char *folder, const char *name) {
  static char path[4][4096];
  static int next;
  char *p = path[next++ % 4];
  snprintf(p, sizeof path[0], "%s/%s", folder, name);
  return p;
}

int main(int argc, char **argv) {
  const char *folder = argc > 1 ? argv[1] : ".";
  MUST(causerie_check_version(CAUSERIE_VERSION, CAUSERIE_ABI));
  printf("%s\n", causerie_version());

  causerie_config *config = NULL;
  MUST(causerie_config_new(&config));
  const char *settings =
      "[simulate]\nitems = 120\nusers = 300\nreviews = 1500\nconversations = 60\n"
      "[embed]\ndim = 32\nuser_dim = 16\n[select]\nbudget = 60\n[synthesize]\nqueries = 1\nin_flight = 2\n"
      "[tune]\nhead_epochs = 3\n[evaluate]\nbootstrap = 100\nexamples = 0\n";
  MUST(causerie_config_read(config, settings, strlen(settings)));
  MUST(causerie_config_set(config, "select.strategy", "fisher"));

  unsigned long reports = 0;
  causerie_run *run = NULL;
  MUST(causerie_run_new(2, &run));
  MUST(causerie_run_on_progress(run, on_progress, &reports));

  /* 1 load: here a simulated domain; yours comes from files, from memory, or from Arrow. */
  MUST(causerie_simulate(config, folder, run));
  causerie_dataset *dataset = NULL;
  MUST(causerie_dataset_new(config, &dataset));
  MUST(causerie_dataset_add_file(dataset, CAUSERIE_ITEMS, in(folder, "items.jsonl"), run, NULL));
  MUST(causerie_dataset_add_file(dataset, CAUSERIE_REVIEWS, in(folder, "reviews.jsonl"), run, NULL));
  size_t len = 0;
  char *lines = read_file(in(folder, "interactions.csv"), &len);
  MUST(causerie_dataset_add(dataset, CAUSERIE_INTERACTIONS, lines, len, NULL));
  free(lines);
  printf("load: %zu items, %zu reviews, %zu interactions\n", causerie_dataset_count(dataset, CAUSERIE_ITEMS),
         causerie_dataset_count(dataset, CAUSERIE_REVIEWS), causerie_dataset_count(dataset, CAUSERIE_INTERACTIONS));

  /* 2 embed, 3 select */
  causerie_embeddings *embeddings = NULL;
  MUST(causerie_embed(dataset, config, NULL, run, &embeddings));
  size_t rows = 0, dim = 0, picked = 0;
  const float *values = causerie_embeddings_data(embeddings, &rows, &dim);
  printf("embed: %zu x %zu, the first value is %.3f\n", rows, dim, (double)values[0]);
  causerie_selection *selection = NULL;
  MUST(causerie_select(dataset, embeddings, NULL, config, run, &selection));
  const uint64_t *seeds = causerie_selection_rows(selection, &picked);
  printf("select: %zu seeds, the first is review %llu\n", picked, (unsigned long long)seeds[0]);

  /* 4 synthesize: the built-in teacher; then ours, into the same training set */
  causerie_dialogues *dialogues = NULL, *more = NULL;
  MUST(causerie_synthesize(dataset, selection, config, 1, in(folder, "journal.jsonl"), run, &dialogues));
  size_t offline = causerie_dialogues_count(dialogues);
  MUST(causerie_synthesize_with(dataset, selection, "example", teacher, dataset, config, 1, NULL, run, &more));
  MUST(causerie_dialogues_add(dialogues, more));
  printf("synthesize: %zu dialogues of the built-in teacher, %zu of ours\n", offline, causerie_dialogues_count(more));

  /* 5 tune */
  causerie_model *model = NULL;
  MUST(causerie_tune(dialogues, dataset, embeddings, config, run, &model));
  MUST(causerie_model_save(model, in(folder, "head.safetensors")));

  /* 6 recommend: once the recommender stands, what made it can go */
  causerie_recommender *tuned = NULL, *popularity = NULL;
  MUST(causerie_recommender_new(dataset, embeddings, model, NULL, config, run, &tuned));
  MUST(causerie_config_set(config, "recommend.system", "popularity"));
  MUST(causerie_recommender_new(dataset, NULL, NULL, NULL, config, run, &popularity));
  causerie_model_free(model);
  causerie_dialogues_free(more);
  causerie_dialogues_free(dialogues);
  causerie_selection_free(selection);
  causerie_embeddings_free(embeddings);
  causerie_dataset_free(dataset);

  const char *wish = "I would like something moving and funny";
  causerie_query *query = NULL;
  causerie_reply *reply = NULL;
  MUST(causerie_query_new(&query));
  MUST(causerie_query_turn(query, CAUSERIE_USER, wish, strlen(wish)));
  MUST(causerie_recommend_query(tuned, query, 5, run, &reply));
  printf("recommend:\n%s\n", causerie_reply_text(reply));
  size_t shown = 0;
  const uint64_t *best_first = causerie_reply_rows(reply, &shown);
  const uint64_t best = shown > 0 ? best_first[0] : 0;

  /* The conversation goes on: what was shown is not shown again. */
  MUST(causerie_query_exclude_rows(query, best_first, shown));
  MUST(causerie_query_turn(query, CAUSERIE_ASSISTANT, causerie_reply_text(reply), strlen(causerie_reply_text(reply))));
  MUST(causerie_query_turn(query, CAUSERIE_USER, "I know these", 12));
  causerie_reply_free(reply);
  MUST(causerie_recommend_query(tuned, query, 5, run, &reply));
  for (size_t i = 0; i < causerie_reply_count(reply); i++) {
    if (causerie_reply_rows(reply, NULL)[i] == best) {
      fprintf(stderr, "an excluded item came back\n");
      return 1;
    }
  }
  causerie_reply_free(reply);

  /* 7 evaluate: both on the same pairs */
  const causerie_recommender *both[] = {tuned, popularity};
  char *conversations = read_file(in(folder, "conversations.jsonl"), &len);
  causerie_report *report = NULL;
  MUST(causerie_evaluate(both, 2, conversations, len, config, run, &report));
  free(conversations);
  double mean = 0, se = 0, base = 0;
  MUST(causerie_report_metric(report, 0, "recall@10", &mean, &se));
  MUST(causerie_report_metric(report, 1, "recall@10", &base, NULL));
  printf("evaluate: Recall@10 %.3f +- %.3f, popularity %.3f\n", mean, se, base);
  MUST(causerie_report_save(report, folder));
  causerie_report_free(report);

  /* An item that was not there when it was tuned */
  const char *item = "{\"item\": \"new-1\", \"title\": \"Zanzibar Crossing\", \"year\": 2026, \"plot\": \"A moving, funny ferry trip\"}";
  MUST(causerie_recommender_add(tuned, item, strlen(item), run, NULL));
  size_t count = causerie_recommender_count(tuned);
  float *scores = malloc(count * sizeof *scores);
  MUST(causerie_score_query(tuned, query, run, scores, count));
  printf("the new item scores %.3f\n", (double)scores[count - 1]);
  free(scores);

  printf("%lu reports of progress\n", reports);

  causerie_query_free(query);
  causerie_recommender_free(tuned);
  causerie_recommender_free(popularity);
  causerie_run_free(run);
  causerie_config_free(config);
  return 0;
}
