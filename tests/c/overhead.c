/* What a call costs: a check of the handle, one catch_unwind, an error object. Prints nanoseconds per call; more than a
 * microsecond for a call that does nothing else is a failure. */
#include "common.h"
#include <time.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(void) {
  const int calls = 1000000;
  causerie_dataset *dataset = NULL;
  MUST(causerie_dataset_new(NULL, &dataset));
  size_t sum = 0;
  double start = now();
  for (int i = 0; i < calls; i++) sum += causerie_dataset_count(dataset, CAUSERIE_ITEMS);
  double plain = (now() - start) / calls;
  start = now();
  for (int i = 0; i < calls; i++) {
    causerie_error *error = causerie_dataset_save(dataset, NULL);
    sum += (size_t)causerie_error_code(error);
    causerie_error_free(error);
  }
  double failing = (now() - start) / calls;
  printf("%.0f ns a call, %.0f ns one that fails (%zu)\n", plain, failing, sum);
  causerie_dataset_free(dataset);
  CHECK(plain < 1000);
  return 0;
}
