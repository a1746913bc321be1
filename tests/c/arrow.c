/* Arrow arrays and streams: every text layout, nulls, offsets, dictionaries, lists; hostile ones refused; each release
 * callback called exactly once. */
#include "common.h"
#include <math.h>

static int released; /* release callbacks called */
static int made;     /* structs that were given one */

static void end_schema(struct ArrowSchema *s) {
  released++;
  for (int64_t i = 0; i < s->n_children; i++)
    if (s->children != NULL && s->children[i] != NULL && s->children[i]->release != NULL) s->children[i]->release(s->children[i]);
  if (s->dictionary != NULL && s->dictionary->release != NULL) s->dictionary->release(s->dictionary);
  s->release = NULL;
}
static void end_array(struct ArrowArray *a) {
  released++;
  for (int64_t i = 0; i < a->n_children; i++)
    if (a->children != NULL && a->children[i] != NULL && a->children[i]->release != NULL) a->children[i]->release(a->children[i]);
  if (a->dictionary != NULL && a->dictionary->release != NULL) a->dictionary->release(a->dictionary);
  a->release = NULL;
}

struct column {
  struct ArrowSchema schema;
  struct ArrowArray array;
  const void *buffers[5];
};

static void column(struct column *c, const char *name, const char *format, int64_t length, int64_t n_buffers, const void *b0,
                   const void *b1, const void *b2) {
  memset(c, 0, sizeof *c);
  c->schema.format = format;
  c->schema.name = name;
  c->schema.release = end_schema;
  c->buffers[0] = b0, c->buffers[1] = b1, c->buffers[2] = b2;
  c->array.length = length;
  c->array.null_count = b0 == NULL ? 0 : -1;
  c->array.n_buffers = n_buffers;
  c->array.buffers = c->buffers;
  c->array.release = end_array;
  made += 2;
}

/* A struct of columns. */
static void batch(struct column *b, struct ArrowSchema **schemas, struct ArrowArray **arrays, struct column **columns, int n,
                  int64_t length) {
  column(b, "", "+s", length, 1, NULL, NULL, NULL);
  for (int i = 0; i < n; i++) schemas[i] = &columns[i]->schema, arrays[i] = &columns[i]->array;
  b->schema.n_children = b->array.n_children = n;
  b->schema.children = schemas;
  b->array.children = arrays;
}

static causerie_dataset *empty(void) {
  causerie_dataset *dataset = NULL;
  MUST(causerie_dataset_new(NULL, &dataset));
  return dataset;
}

/* Three items: ids by Utf8, titles by Utf8View with one long one, years with a null, genres by lists. */
static void items_of(struct column *b, struct ArrowSchema **s, struct ArrowArray **a) {
  static struct column id, title, year, genres, genre;
  static const int32_t id_ends[] = {0, 1, 2, 3};
  static const int32_t years[] = {1999, 7, 2001};
  static const uint8_t valid[] = {5}; /* 1 0 1 */
  static const int32_t list_ends[] = {0, 2, 2, 3};
  static const int32_t genre_ends[] = {0, 6, 12, 17};
  static const char *const far = "....A rather long title of a film";
  static const int64_t sizes[] = {33};
  static struct { int32_t length; union { char inside[12]; struct { char prefix[4]; int32_t buffer, offset; } out; } u; } views[3];
  memset(views, 0, sizeof views);
  views[0].length = 5, memcpy(views[0].u.inside, "Alien", 5);
  views[1].length = 29, memcpy(views[1].u.out.prefix, "A ra", 4), views[1].u.out.offset = 4;
  column(&id, "item", "u", 3, 3, NULL, id_ends, "abc");
  column(&title, "title", "vu", 3, 4, NULL, views, far);
  title.buffers[3] = sizes;
  column(&year, "year", "i", 3, 2, valid, years, NULL);
  column(&genres, "genres", "+l", 3, 2, NULL, list_ends, NULL);
  column(&genre, "item", "u", 3, 3, NULL, genre_ends, "HorrorComedyDrama");
  static struct ArrowSchema *genre_schema;
  static struct ArrowArray *genre_array;
  genre_schema = &genre.schema, genre_array = &genre.array;
  genres.schema.n_children = genres.array.n_children = 1;
  genres.schema.children = &genre_schema, genres.array.children = &genre_array;
  struct column *columns[] = {&title, &genres, &id, &year};
  batch(b, s, a, columns, 4, 3);
}

/* Two reviews behind an offset of one: LargeUtf8, a dictionary of ids, a rating of five stars, seconds. */
static void reviews_in(int place, struct column *b, struct ArrowSchema **s, struct ArrowArray **a) {
  static struct column sets[3][5]; /* what lives at the same time lies apart */
  struct column *set = sets[place];
  static const int8_t indices[] = {0, 1, 1};
  static const int32_t value_ends[] = {0, 1, 2};
  static const int64_t text_ends[] = {0, 1, 11, 20};
  static const double stars[] = {0, 4.5, 2};
  static const int64_t seconds[] = {0, 1700000000, 1700000001};
  column(&set[0], "item", "c", 3, 2, NULL, indices, NULL);
  column(&set[1], "", "u", 2, 3, NULL, value_ends, "ab");
  set[0].schema.dictionary = &set[1].schema, set[0].array.dictionary = &set[1].array;
  column(&set[2], "text", "U", 3, 3, NULL, text_ends, "xvery good!rather bad");
  column(&set[3], "rating", "g", 3, 2, NULL, stars, NULL);
  column(&set[4], "timestamp", "tss:UTC", 3, 2, NULL, seconds, NULL);
  struct column *columns[] = {&set[0], &set[2], &set[3], &set[4]};
  batch(b, s, a, columns, 4, 2);
  b->array.offset = 1;
}

static void reviews_of(struct column *b, struct ArrowSchema **s, struct ArrowArray **a) { reviews_in(0, b, s, a); }

/* Two items, the first with a brand and legs: as a struct (0), as a map (1), as a map that goes beyond its entries (2). */
static void attributes_of(int what, struct column *b, struct ArrowSchema **s, struct ArrowArray **a) {
  static struct column id, attributes, entries, first, second;
  static const int32_t id_ends[] = {0, 1, 2}, brand_ends[] = {0, 4, 4}, key_ends[] = {0, 5, 9}, value_ends[] = {0, 4, 5};
  static const int32_t legs[] = {4, 7}, map_ends[] = {0, 2, 2}, beyond[] = {0, 5, 5};
  static const uint8_t valid[] = {1}; /* 1 0 */
  static struct ArrowSchema *inner_schemas[2], *entries_schema;
  static struct ArrowArray *inner_arrays[2], *entries_array;
  column(&id, "item", "u", 2, 3, NULL, id_ends, "ab");
  if (what == 0) {
    column(&first, "Brand", "u", 2, 3, NULL, brand_ends, "Acme");
    column(&second, "legs", "i", 2, 2, valid, legs, NULL);
  } else {
    column(&first, "key", "u", 2, 3, NULL, key_ends, "brandLegs");
    column(&second, "value", "u", 2, 3, NULL, value_ends, "Acme4");
  }
  struct column *inner[] = {&first, &second};
  batch(what == 0 ? &attributes : &entries, inner_schemas, inner_arrays, inner, 2, 2);
  if (what > 0) {
    column(&attributes, "", "+m", 2, 2, NULL, what == 1 ? map_ends : beyond, NULL);
    entries_schema = &entries.schema, entries_array = &entries.array;
    attributes.schema.n_children = attributes.array.n_children = 1;
    attributes.schema.children = &entries_schema, attributes.array.children = &entries_array;
  }
  attributes.schema.name = "attributes";
  struct column *columns[] = {&id, &attributes};
  batch(b, s, a, columns, 2, 2);
}

/* Whether two datasets are saved as the same bytes. */
static int same(const causerie_dataset *x, const causerie_dataset *y) {
  char one[] = "/tmp/causerie-arrow-XXXXXX", two[] = "/tmp/causerie-arrow-XXXXXX";
  CHECK(mkdtemp(one) != NULL && mkdtemp(two) != NULL);
  MUST(causerie_dataset_save(x, one));
  MUST(causerie_dataset_save(y, two));
  char command[256];
  snprintf(command, sizeof command, "diff -r %s %s; code=$?; rm -r %s %s; exit $code", one, two, one, two);
  return system(command) == 0;
}

static int left;
static int stream_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out) {
  (void)stream;
  static struct column b;
  static struct ArrowSchema *s[4];
  static struct ArrowArray *a[4];
  reviews_in(1, &b, s, a);
  b.array.release(&b.array);
  *out = b.schema;
  return 0;
}
static int stream_next(struct ArrowArrayStream *stream, struct ArrowArray *out) {
  (void)stream;
  static struct column b;
  static struct ArrowSchema *s[4];
  static struct ArrowArray *a[4];
  memset(out, 0, sizeof *out);
  if (left < 0) return 5;
  if (left-- == 0) return 0;
  reviews_in(2, &b, s, a);
  b.schema.release(&b.schema);
  *out = b.array;
  return 0;
}
static const char *stream_error(struct ArrowArrayStream *stream) { (void)stream; return "the disk is gone"; }
static void stream_end(struct ArrowArrayStream *stream) { released++, stream->release = NULL; }

int main(void) {
  struct column b;
  struct ArrowSchema *s[4];
  struct ArrowArray *a[4];

  causerie_dataset *dataset = empty();
  items_of(&b, s, a);
  MUST(causerie_dataset_add_arrow(dataset, CAUSERIE_ITEMS, &b.schema, &b.array, NULL));
  CHECK(b.schema.release == NULL && b.array.release == NULL && released == made);
  CHECK(causerie_dataset_count(dataset, CAUSERIE_ITEMS) == 3);
  CHECK(strcmp(causerie_dataset_title(dataset, 0), "Alien (1999)") == 0);
  CHECK(strcmp(causerie_dataset_title(dataset, 1), "A rather long title of a film") == 0);
  reviews_of(&b, s, a);
  MUST(causerie_dataset_add_arrow(dataset, CAUSERIE_REVIEWS, &b.schema, &b.array, NULL));
  CHECK(released == made && causerie_dataset_count(dataset, CAUSERIE_REVIEWS) == 2);

  /* The same as JSON lines gives the same dataset. */
  causerie_dataset *lines = empty();
  const char *items = "{\"item\": \"a\", \"title\": \"Alien\", \"year\": 1999, \"genres\": [\"Horror\", \"Comedy\"]}\n"
                      "{\"item\": \"b\", \"title\": \"A rather long title of a film\"}\n"
                      "{\"item\": \"c\", \"year\": 2001, \"genres\": [\"Drama\"]}\n";
  const char *reviews = "{\"item\": \"b\", \"text\": \"very good!\", \"rating10\": 9, \"timestamp_ms\": 1700000000000}\n"
                        "{\"item\": \"b\", \"text\": \"rather ba\", \"rating10\": 4, \"timestamp_ms\": 1700000001000}\n";
  MUST(causerie_dataset_add(lines, CAUSERIE_ITEMS, items, strlen(items), NULL));
  MUST(causerie_dataset_add(lines, CAUSERIE_REVIEWS, reviews, strlen(reviews), NULL));
  CHECK(same(dataset, lines));
  causerie_dataset_free(lines);

  /* Named attributes: a struct, a map and JSON are one; a map beyond its entries is refused. */
  const char *named = "{\"item\": \"a\", \"attributes\": {\"brand\": \"Acme\", \"legs\": 4}}\n{\"item\": \"b\"}\n";
  lines = empty();
  MUST(causerie_dataset_add(lines, CAUSERIE_ITEMS, named, strlen(named), NULL));
  for (int what = 0; what < 3; what++) {
    causerie_dataset *other = empty();
    attributes_of(what, &b, s, a);
    if (what < 2) {
      MUST(causerie_dataset_add_arrow(other, CAUSERIE_ITEMS, &b.schema, &b.array, NULL));
      CHECK(same(other, lines));
    } else {
      FAILS(causerie_dataset_add_arrow(other, CAUSERIE_ITEMS, &b.schema, &b.array, NULL), CAUSERIE_FORMAT, "of 2 entries");
    }
    CHECK(released == made);
    causerie_dataset_free(other);
  }
  causerie_dataset_free(lines);

  /* A stream, one that fails in between adds nothing. */
  struct ArrowArrayStream stream = {stream_schema, stream_next, stream_error, stream_end, NULL};
  left = 3, made++;
  MUST(causerie_dataset_add_arrow_stream(dataset, CAUSERIE_REVIEWS, &stream, NULL, NULL));
  CHECK(stream.release == NULL && causerie_dataset_count(dataset, CAUSERIE_REVIEWS) == 8 && released == made);
  struct ArrowArrayStream broken = {stream_schema, stream_next, stream_error, stream_end, NULL};
  left = -1, made++;
  FAILS(causerie_dataset_add_arrow_stream(dataset, CAUSERIE_REVIEWS, &broken, NULL, NULL), CAUSERIE_FORMAT, "the disk is gone");
  CHECK(causerie_dataset_count(dataset, CAUSERIE_REVIEWS) == 8 && released == made);

  /* Hostile ones: refused, released, nothing added. */
  for (int what = 0; what < 12; what++) {
    static const int32_t bad_ends[] = {0, 2, 1, 3};
    static const int32_t negative[] = {-5, 1, 2, 3};
    items_of(&b, s, a);
    switch (what) {
      case 0: a[2]->length = -1; break;
      case 1: a[2]->length = 2; break;
      case 2: a[2]->n_buffers = 2; break;
      case 3: a[2]->buffers[1] = NULL; break;
      case 4: a[2]->buffers[1] = bad_ends; break;
      case 5: a[2]->buffers[1] = negative; break;
      case 6: a[2]->buffers[2] = "a\xff" "c"; break;
      case 7: s[2]->format = "z"; break;
      case 8: s[2]->name = "nothing"; break;
      case 9: b.array.n_children = 3; break;
      case 10: a[2]->offset = INT64_MAX; break;
      case 11: a[1]->children[0]->length = 1; break;
    }
    int64_t children = b.array.n_children;
    causerie_error *error = causerie_dataset_add_arrow(dataset, CAUSERIE_ITEMS, &b.schema, &b.array, NULL);
    CHECK(error != NULL && causerie_error_code(error) == CAUSERIE_FORMAT && strncmp(causerie_error_message(error), "Arrow", 5) == 0);
    causerie_error_free(error);
    if (children == 3) a[3]->release(a[3]); /* the producer's fourth child, of which the array did not tell */
    CHECK(released == made && causerie_dataset_count(dataset, CAUSERIE_ITEMS) == 3);
  }
  items_of(&b, s, a);
  FAILS(causerie_dataset_add_arrow(NULL, CAUSERIE_ITEMS, &b.schema, &b.array, NULL), CAUSERIE_INVALID, "NULL");
  CHECK(released == made);
  items_of(&b, s, a);
  FAILS(causerie_dataset_add_arrow(dataset, 7, &b.schema, &b.array, NULL), CAUSERIE_INVALID, "no table 7");
  CHECK(released == made);
  FAILS(causerie_dataset_add_arrow(dataset, CAUSERIE_ITEMS, &b.schema, &b.array, NULL), CAUSERIE_INVALID, "released already");
  FAILS(causerie_dataset_add_arrow(dataset, CAUSERIE_ITEMS, NULL, NULL, NULL), CAUSERIE_INVALID, "NULL");
  causerie_dataset_free(dataset);

  /* Embeddings: fixed-size lists of f32, f64 or f16, behind an offset. */
  static const float values[] = {9, 9, 1, 2, 3, 4};
  static const double doubles[] = {9, 9, 1, 2, 3, 4};
  static const uint16_t halves[] = {0x4880, 0x4880, 0x3c00, 0x4000, 0x4200, 0x4400};
  struct column rows, child;
  struct ArrowSchema *child_schema = &child.schema;
  struct ArrowArray *child_array = &child.array;
  for (int what = 0; what < 6; what++) {
    const char *format = what == 1 ? "i" : what == 4 ? "g" : what == 5 ? "e" : "f";
    const void *numbers = what == 4 ? (const void *)doubles : what == 5 ? (const void *)halves : (const void *)values;
    int good = what == 0 || what >= 4;
    column(&rows, "", what == 2 ? "+w:0" : "+w:2", 2, 1, NULL, NULL, NULL);
    column(&child, "", format, what == 3 ? 5 : 6, 2, NULL, numbers, NULL);
    rows.array.offset = 1;
    rows.schema.n_children = rows.array.n_children = 1;
    rows.schema.children = &child_schema, rows.array.children = &child_array;
    causerie_embeddings *embeddings = NULL;
    causerie_error *error = causerie_embeddings_from_arrow(&rows.schema, &rows.array, &embeddings);
    CHECK((error == NULL) == good && (embeddings != NULL) == good && released == made);
    causerie_error_free(error);
    if (embeddings != NULL) {
      size_t n = 0, dim = 0;
      const float *data = causerie_embeddings_data(embeddings, &n, &dim);
      CHECK(n == 2 && dim == 2 && data[0] == 1 && data[3] == 4);
    }
    causerie_embeddings_free(embeddings);
  }
  return 0;
}
