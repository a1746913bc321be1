/* A test that ends without having freed every handle fails. Leak checks do not see a forgotten handle: the library's table still
 * reaches its value. */
#ifndef LEFT_H
#define LEFT_H
#include <causerie.h>
#include <stdio.h>
#include <stdlib.h>

static void no_handle_is_left(void) {
  size_t left = causerie_handles();
  if (left == 0) return;
  fprintf(stderr, "%zu handles were not freed\n", left);
  fflush(stdout);
  _Exit(1);
}
__attribute__((constructor)) static void look_at_the_end(void) {
  if (atexit(no_handle_is_left) != 0) abort();
}
#endif
