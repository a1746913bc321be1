/* What the generated calls of tests/abi/package/hostile.rs use: good handles, and texts that are not good. */
#ifndef HOSTILE_H
#define HOSTILE_H
#include "common.h"
#include <math.h>

extern causerie_config *config;
extern causerie_run *run;
extern causerie_dataset *dataset;
extern causerie_embeddings *embeddings;
extern causerie_selection *selection;
extern causerie_dialogues *dialogues;
extern causerie_model *model;
extern causerie_recommender *recommender;
extern causerie_query *query;
extern causerie_reply *reply;
extern causerie_report *report;
extern causerie_error *error;
extern const causerie_recommender *shared;
extern const causerie_query *asked;
extern uint64_t counts[64];
extern const char *names[1];
/* A handle of a noun that no function above takes where it is given. */
extern causerie_answer *other;
extern char garbage[4096], huge[1 << 20], deep[1 << 18], zeros[64];
extern float floats[4096];
extern causerie_progress progress;
extern const char *told;
extern size_t number;
extern uint64_t big;
extern double real;
extern void *made;
int32_t refuse(const causerie_request *request, causerie_answer *answer, void *data);
void tried(const char *call, causerie_error *error);
void try_all(void);
#endif
