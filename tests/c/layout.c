/* Sizes and offsets of every struct that callers see, as tests/abi/causerie.abi keeps them. */
#include <causerie.h>
#include <stdio.h>

#define FIELD(type, field) printf(#type "." #field " %zu %zu\n", offsetof(type, field), sizeof(((type *)0)->field))

int main(void) {
  printf("abi %u\n", (unsigned)causerie_abi());
  printf("causerie_setting %zu\n", sizeof(causerie_setting));
  FIELD(causerie_setting, key);
  FIELD(causerie_setting, kind);
  FIELD(causerie_setting, initial);
  FIELD(causerie_setting, bounds);
  FIELD(causerie_setting, doc);
  printf("causerie_progress %zu\n", sizeof(causerie_progress));
  FIELD(causerie_progress, size);
  FIELD(causerie_progress, started);
  FIELD(causerie_progress, stage);
  FIELD(causerie_progress, unit);
  FIELD(causerie_progress, done);
  FIELD(causerie_progress, total);
  FIELD(causerie_progress, seconds);
  FIELD(causerie_progress, seconds_left);
  FIELD(causerie_progress, note);
  printf("causerie_request %zu\n", sizeof(causerie_request));
  FIELD(causerie_request, size);
  FIELD(causerie_request, kind);
  FIELD(causerie_request, prompt);
  FIELD(causerie_request, prompt_len);
  FIELD(causerie_request, id);
  FIELD(causerie_request, temperature);
  FIELD(causerie_request, max_tokens);
  FIELD(causerie_request, seed);
  FIELD(causerie_request, attempt);
  return 0;
}
