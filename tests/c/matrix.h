/* What the generated calls of tests/abi/package/cpp.rs use: one handle of each noun, and room for what a call writes. */
#ifndef MATRIX_H
#define MATRIX_H
#include "common.h"

/* What calls are made with. The noun under test is made anew for each pair of functions; the others live on. */
struct shelf {
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
};

/* A thread's own: where it writes. */
struct room {
  char path[512];
  float floats[4096];
};

/* An Arrow batch of one item, and a stream of it. */
struct batch {
  struct ArrowSchema schema, column, *columns[1];
  struct ArrowArray array, values, *arrays[1];
  struct ArrowArrayStream stream;
  int given;
};
void batch_of_one(struct batch *batch);

/* The id of an item of the catalogue. */
extern char item[64];

typedef int32_t (*call_fn)(const struct shelf *h, struct room *room);
struct entry {
  const char *name;
  call_fn call;
  int frees;
};
struct noun {
  const char *name;
  const struct entry *entries;
  size_t count;
};

/* The generated table. */
extern const struct noun nouns[];
extern const size_t noun_count;

int32_t code_of(causerie_error *error);
int32_t refuse(const causerie_request *request, causerie_answer *answer, void *data);
int32_t go_on(const causerie_progress *progress, void *data);
int32_t read_on(const char *text, size_t len, void *data);
#endif
