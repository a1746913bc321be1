/* Sixteen threads call every pair of functions on one handle that they share, for each noun, and free it meanwhile: each call
 * succeeds, fails as it does alone, or says busy or closed. The functions are generated from the header
 * (tests/abi/package/cpp.rs). argv: a folder; how many seconds all pairs share, beside what functions that take long need. */
#include "matrix.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>

enum { THREADS = 16, MOST = 64, HEAVY_FROM_US = 1500 };

static struct shelf shelf;
static struct room rooms[THREADS + 1];
static const char *folder;
static pthread_barrier_t begin, end;

/* The pair of the moment. */
static const struct noun *now;
static size_t pair[2];
static double slice_s, until;
static int over;
static atomic_int working; /* calls of heavy functions under way */
static atomic_ulong calls, codes[101];

/* How each function of the noun of the moment ends alone, and how long it takes. */
static int32_t alone[MOST];
static double takes_s[MOST];

int32_t code_of(causerie_error *error) {
  int32_t code = causerie_error_code(error);
  causerie_error_free(error);
  return code;
}
int32_t refuse(const causerie_request *request, causerie_answer *answer, void *data) {
  (void)request, (void)data;
  causerie_error_free(causerie_answer_fail(answer, CAUSERIE_FAIL_REFUSED, 0, "no", 2));
  return 0;
}
int32_t go_on(const causerie_progress *progress, void *data) {
  (void)progress, (void)data;
  return 0;
}
int32_t read_on(const char *text, size_t len, void *data) {
  (void)text, (void)len, (void)data;
  return 0;
}

/* The id of an item that is there already: what adds it leaves the dataset as it is. */
char item[64];
static int32_t item_ends[2];
static const void *item_text[] = {NULL, item_ends, item};

static void end_schema(struct ArrowSchema *s) { s->release = NULL; }
static void end_array(struct ArrowArray *a) { a->release = NULL; }
static int schema_of(struct ArrowArrayStream *stream, struct ArrowSchema *out) {
  *out = ((struct batch *)stream->private_data)->schema;
  return 0;
}
static int next_of(struct ArrowArrayStream *stream, struct ArrowArray *out) {
  struct batch *b = stream->private_data;
  if (b->given++ == 0) *out = b->array;
  else memset(out, 0, sizeof *out);
  return 0;
}
static const char *error_of(struct ArrowArrayStream *stream) {
  (void)stream;
  return "none";
}
static void end_stream(struct ArrowArrayStream *stream) { stream->release = NULL; }
void batch_of_one(struct batch *b) {
  static const void *none[] = {NULL};
  memset(b, 0, sizeof *b);
  b->column = (struct ArrowSchema){.format = "u", .name = "item", .release = end_schema};
  b->values = (struct ArrowArray){.length = 1, .n_buffers = 3, .buffers = item_text, .release = end_array};
  b->columns[0] = &b->column, b->arrays[0] = &b->values;
  b->schema = (struct ArrowSchema){.format = "+s", .name = "", .n_children = 1, .children = b->columns, .release = end_schema};
  b->array = (struct ArrowArray){.length = 1, .n_buffers = 1, .buffers = none, .n_children = 1, .children = b->arrays, .release = end_array};
  b->stream = (struct ArrowArrayStream){schema_of, next_of, error_of, end_stream, b};
}

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void settings(causerie_config *config) {
  char toml[2048];
  snprintf(toml, sizeof toml,
           "[run]\nthreads = 1\n[simulate]\nitems = 20\nusers = 20\nreviews = 60\nconversations = 10\n[embed]\ndim = 4\nuser_dim = 4\n"
           "[select]\nbudget = 4\nstrategy = \"random\"\n[synthesize]\nqueries = 1\nin_flight = 1\n[tune]\nhead_epochs = 1\n"
           "[evaluate]\nbootstrap = 100\nconversations = [\"%s/conversations.jsonl\"]\n",
           folder);
  MUST(causerie_config_read(config, toml, strlen(toml)));
}

/* One of each, made of what stands on the shelf already. */
static void fresh(const char *noun) {
  if (strcmp(noun, "config") == 0) {
    MUST(causerie_config_new(&shelf.config));
    settings(shelf.config);
  } else if (strcmp(noun, "run") == 0) {
    MUST(causerie_run_new(1, &shelf.run));
  } else if (strcmp(noun, "dataset") == 0) {
    MUST(causerie_dataset_load(in(folder, "dataset"), shelf.config, &shelf.dataset));
  } else if (strcmp(noun, "embeddings") == 0) {
    MUST(causerie_embed(shelf.dataset, shelf.config, in(folder, "embedded"), NULL, &shelf.embeddings));
  } else if (strcmp(noun, "selection") == 0) {
    MUST(causerie_select(NULL, shelf.embeddings, NULL, shelf.config, NULL, &shelf.selection));
  } else if (strcmp(noun, "dialogues") == 0) {
    MUST(causerie_dialogues_load(in(folder, "dialogues.jsonl"), &shelf.dialogues, NULL));
  } else if (strcmp(noun, "model") == 0) {
    MUST(causerie_model_load(in(folder, "head.safetensors"), &shelf.model));
  } else if (strcmp(noun, "recommender") == 0) {
    MUST(causerie_recommender_new(shelf.dataset, shelf.embeddings, shelf.model, NULL, shelf.config, NULL, &shelf.recommender));
  } else if (strcmp(noun, "query") == 0) {
    MUST(causerie_query_parse(FUNNY, strlen(FUNNY), &shelf.query));
  } else if (strcmp(noun, "reply") == 0) {
    MUST(causerie_recommend_query(shelf.recommender, shelf.query, 3, NULL, &shelf.reply));
  } else if (strcmp(noun, "report") == 0) {
    const causerie_recommender *one = shelf.recommender;
    MUST(causerie_evaluate(&one, 1, NULL, 0, shelf.config, NULL, &shelf.report));
  } else if (strcmp(noun, "error") == 0) {
    shelf.error = causerie_config_set(shelf.config, "no.such", "1");
    CHECK(shelf.error != NULL);
  } else {
    fprintf(stderr, "no way to make a handle of %s: add one\n", noun);
    exit(1);
  }
}

static void freed(const char *noun) {
  if (strcmp(noun, "config") == 0) causerie_config_free(shelf.config), shelf.config = NULL;
  if (strcmp(noun, "run") == 0) causerie_run_free(shelf.run), shelf.run = NULL;
  if (strcmp(noun, "dataset") == 0) causerie_dataset_free(shelf.dataset), shelf.dataset = NULL;
  if (strcmp(noun, "embeddings") == 0) causerie_embeddings_free(shelf.embeddings), shelf.embeddings = NULL;
  if (strcmp(noun, "selection") == 0) causerie_selection_free(shelf.selection), shelf.selection = NULL;
  if (strcmp(noun, "dialogues") == 0) causerie_dialogues_free(shelf.dialogues), shelf.dialogues = NULL;
  if (strcmp(noun, "model") == 0) causerie_model_free(shelf.model), shelf.model = NULL;
  if (strcmp(noun, "recommender") == 0) causerie_recommender_free(shelf.recommender), shelf.recommender = NULL;
  if (strcmp(noun, "query") == 0) causerie_query_free(shelf.query), shelf.query = NULL;
  if (strcmp(noun, "reply") == 0) causerie_reply_free(shelf.reply), shelf.reply = NULL;
  if (strcmp(noun, "report") == 0) causerie_report_free(shelf.report), shelf.report = NULL;
  if (strcmp(noun, "error") == 0) causerie_error_free(shelf.error), shelf.error = NULL;
}

/* Counts what a call came to, and ends the test where that is not one of what it may be. */
static void judge(size_t which, int32_t code) {
  int fine = code == 0 || code == alone[which] || code == CAUSERIE_BUSY || code == CAUSERIE_CLOSED;
  /* A run that another thread cancels ends whatever is under way. */
  fine = fine || (code == CAUSERIE_CANCELLED && strcmp(now->name, "run") == 0);
  calls++;
  if (code >= 0 && code <= 100) codes[code]++;
  if (fine) return;
  fprintf(stderr, "%s beside %s: code %d, alone %d\n", now->entries[which].name,
          now->entries[pair[which == pair[0]]].name, code, alone[which]);
  exit(1);
}

static int heavy(size_t which) { return takes_s[which] * 1e6 > HEAVY_FROM_US; }

static void *work(void *number) {
  size_t n = (size_t)number;
  unsigned random = (unsigned)n * 2654435761u + 1;
  for (;;) {
    pthread_barrier_wait(&begin);
    if (over) return NULL;
    size_t which = pair[n % 2];
    int mine = !heavy(which) || n < 2; /* one thread for what takes long; the others call what does not */
    const struct entry *entry = &now->entries[which];
    if (mine && entry->frees) {
      struct timespec half = {0, (long)(slice_s * 5e8)};
      if (half.tv_nsec < 999999999) nanosleep(&half, NULL);
      judge(which, entry->call(&shelf, &rooms[n]));
    } else if (mine && heavy(which)) {
      judge(which, entry->call(&shelf, &rooms[n]));
      working--;
    } else {
      for (;;) {
        size_t other = which;
        if (!mine) {
          random = random * 1664525u + 1013904223u;
          other = random / 65536 % now->count;
          if (heavy(other) || now->entries[other].frees) other = pair[0] == which ? pair[1] : pair[0];
          if (heavy(other) || now->entries[other].frees) break;
        }
        judge(other, now->entries[other].call(&shelf, &rooms[n]));
        if (seconds() < until) continue;
        if (working == 0) break;
        /* What takes long needs the processor, too. */
        struct timespec nap = {0, 500000};
        nanosleep(&nap, NULL);
      }
    }
    pthread_barrier_wait(&end);
  }
}

/* Every function once, alone. */
static void measure(void) {
  CHECK(now->count <= MOST);
  for (size_t i = 0; i < now->count; i++) {
    /* Twice: another process may have had the processor. */
    for (int again = 0; again < 2; again++) {
      fresh(now->name);
      double start = seconds();
      alone[i] = now->entries[i].call(&shelf, &rooms[THREADS]);
      double took = seconds() - start;
      takes_s[i] = again && takes_s[i] < took ? takes_s[i] : took;
      freed(now->name);
    }
    if (alone[i] == CAUSERIE_BUG || alone[i] == CAUSERIE_CLOSED) {
      fprintf(stderr, "%s alone: code %d\n", now->entries[i].name, alone[i]);
      exit(1);
    }
    if (alone[i] == CAUSERIE_BUSY) alone[i] = 0;
  }
}

int main(int argc, char **argv) {
  folder = argc > 1 ? argv[1] : ".";
  double box_s = argc > 2 ? atof(argv[2]) : 10;
  for (size_t i = 0; i <= THREADS; i++) {
    snprintf(rooms[i].path, sizeof rooms[i].path, "%s/thread-%zu", folder, i);
    mkdir(rooms[i].path, 0700);
    snprintf(rooms[i].path + strlen(rooms[i].path), 8, "/there");
  }
  MUST(causerie_config_new(&shelf.config));
  settings(shelf.config);
  MUST(causerie_simulate(shelf.config, folder, NULL));
  causerie_dataset *dataset = NULL;
  MUST(causerie_dataset_new(shelf.config, &dataset));
  MUST(causerie_dataset_add_file(dataset, CAUSERIE_ITEMS, in(folder, "items.jsonl"), NULL, NULL));
  MUST(causerie_dataset_add_file(dataset, CAUSERIE_REVIEWS, in(folder, "reviews.jsonl"), NULL, NULL));
  MUST(causerie_dataset_save(dataset, in(folder, "dataset")));
  causerie_dataset_free(dataset);
  fresh("run");
  fresh("dataset");
  fresh("embeddings");
  fresh("selection");
  MUST(causerie_synthesize(shelf.dataset, shelf.selection, shelf.config, 1, NULL, NULL, &shelf.dialogues));
  MUST(causerie_dialogues_save(shelf.dialogues, in(folder, "dialogues.jsonl")));
  MUST(causerie_tune(shelf.dialogues, shelf.dataset, shelf.embeddings, shelf.config, NULL, &shelf.model));
  MUST(causerie_model_save(shelf.model, in(folder, "head.safetensors")));
  fresh("recommender");
  snprintf(item, sizeof item, "%s", causerie_recommender_id(shelf.recommender, 0));
  item_ends[1] = (int32_t)strlen(item);
  fresh("query");
  fresh("reply");
  fresh("report");
  fresh("error");

  size_t pairs = 0;
  for (size_t n = 0; n < noun_count; n++) pairs += nouns[n].count * (nouns[n].count + 1) / 2;
  CHECK(pthread_barrier_init(&begin, NULL, THREADS + 1) == 0 && pthread_barrier_init(&end, NULL, THREADS + 1) == 0);
  pthread_t threads[THREADS];
  for (size_t i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
  double start = seconds();
  slice_s = box_s / (double)pairs;
  for (size_t n = 0; n < noun_count; n++) {
    now = &nouns[n];
    /* The one on the shelf comes back when the noun was tried. */
    struct shelf kept = shelf;
    measure();
    double noun_start = seconds();
    for (size_t i = 0; i < now->count; i++) {
      for (size_t j = i; j < now->count; j++) {
        pair[0] = i, pair[1] = j;
        working = 0;
        for (size_t t = 0; t < 2; t++) working += heavy(pair[t % 2]) && !now->entries[pair[t % 2]].frees;
        fresh(now->name);
        until = seconds() + slice_s;
        pthread_barrier_wait(&begin);
        pthread_barrier_wait(&end);
        freed(now->name);
      }
    }
    if (getenv("CAUSERIE_MATRIX_TELLS") != NULL) {
      fprintf(stderr, "%s: %.2f s", now->name, seconds() - noun_start);
      for (size_t i = 0; i < now->count; i++)
        fprintf(stderr, "%s %s %d %.0f us", i % 3 == 0 ? "\n   " : ",", now->entries[i].name, alone[i], takes_s[i] * 1e6);
      fprintf(stderr, "\n");
    }
    shelf = kept;
  }
  over = 1;
  pthread_barrier_wait(&begin);
  for (size_t i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  for (size_t n = 0; n < noun_count; n++) freed(nouns[n].name);
  printf("%zu pairs in %.1f s: %lu calls, %lu succeeded, %lu busy, %lu closed, %lu cancelled, %lu other\n", pairs, seconds() - start,
         calls, codes[0], codes[CAUSERIE_BUSY], codes[CAUSERIE_CLOSED], codes[CAUSERIE_CANCELLED],
         calls - codes[0] - codes[CAUSERIE_BUSY] - codes[CAUSERIE_CLOSED] - codes[CAUSERIE_CANCELLED]);
  CHECK(codes[CAUSERIE_BUSY] > 0 && codes[CAUSERIE_CLOSED] > 0 && codes[0] > calls / 20);
  CHECK(causerie_handles() == 0);
  return 0;
}
