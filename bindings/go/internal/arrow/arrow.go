// Package arrow makes small record batches in memory of C, for the tests of package causerie: tests themselves cannot hold C.
package arrow

/*
#cgo pkg-config: causerie
#include <causerie.h>
#include <stdlib.h>
#include <string.h>

static int64_t released;

static void release_schema(struct ArrowSchema *s) {
  for (int64_t i = 0; i < s->n_children; i++) {
    if (s->children[i]->release) s->children[i]->release(s->children[i]);
    free(s->children[i]);
  }
  free(s->children);
  free((void *)s->format);
  free((void *)s->name);
  s->release = NULL;
  __atomic_add_fetch(&released, 1, __ATOMIC_SEQ_CST);
}

static void release_array(struct ArrowArray *a) {
  for (int64_t i = 0; i < a->n_children; i++) {
    if (a->children[i]->release) a->children[i]->release(a->children[i]);
    free(a->children[i]);
  }
  free(a->children);
  for (int64_t i = 0; i < a->n_buffers; i++) free((void *)a->buffers[i]);
  free(a->buffers);
  a->release = NULL;
  __atomic_add_fetch(&released, 1, __ATOMIC_SEQ_CST);
}

static struct ArrowSchema *schema(const char *format, const char *name, int64_t children) {
  struct ArrowSchema *s = calloc(1, sizeof *s);
  s->format = strdup(format), s->name = strdup(name), s->flags = ARROW_FLAG_NULLABLE;
  s->n_children = children, s->children = calloc(children + 1, sizeof *s->children), s->release = release_schema;
  return s;
}

static struct ArrowArray *array(int64_t length, int64_t buffers, int64_t children) {
  struct ArrowArray *a = calloc(1, sizeof *a);
  a->length = length, a->n_buffers = buffers, a->buffers = calloc(buffers + 1, sizeof *a->buffers);
  a->n_children = children, a->children = calloc(children + 1, sizeof *a->children), a->release = release_array;
  return a;
}

static void schema_child(struct ArrowSchema *s, int64_t i, struct ArrowSchema *child) { s->children[i] = child; }
static void array_child(struct ArrowArray *a, int64_t i, struct ArrowArray *child) { a->children[i] = child; }
static void array_buffer(struct ArrowArray *a, int64_t i, const void *from, size_t bytes) {
  void *copy = malloc(bytes + 1);
  if (bytes) memcpy(copy, from, bytes);
  a->buffers[i] = copy;
}
static int64_t how_many_released(void) { return __atomic_load_n(&released, __ATOMIC_SEQ_CST); }

// A stream of one batch.
struct one { struct ArrowSchema *schema; struct ArrowArray *array; int failing; };
static int get_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out) {
  struct one *one = stream->private_data;
  *out = *one->schema;
  one->schema->release = NULL;
  return 0;
}
static int get_next(struct ArrowArrayStream *stream, struct ArrowArray *out) {
  struct one *one = stream->private_data;
  memset(out, 0, sizeof *out);
  if (one->failing) return 5;
  if (one->array->release) {
    *out = *one->array;
    one->array->release = NULL;
  }
  return 0;
}
static const char *get_last_error(struct ArrowArrayStream *stream) { (void)stream; return "the source broke"; }
static void release_stream(struct ArrowArrayStream *stream) {
  struct one *one = stream->private_data;
  if (one->schema->release) one->schema->release(one->schema);
  if (one->array->release) one->array->release(one->array);
  free(one->schema), free(one->array), free(one);
  stream->release = NULL;
  __atomic_add_fetch(&released, 1, __ATOMIC_SEQ_CST);
}
static struct ArrowArrayStream *stream_of(struct ArrowSchema *schema, struct ArrowArray *array, int failing) {
  struct one *one = malloc(sizeof *one);
  one->schema = schema, one->array = array, one->failing = failing;
  struct ArrowArrayStream *stream = calloc(1, sizeof *stream);
  stream->get_schema = get_schema, stream->get_next = get_next, stream->get_last_error = get_last_error;
  stream->release = release_stream, stream->private_data = one;
  return stream;
}
static void end_schema(struct ArrowSchema *s) { if (s->release) s->release(s); free(s); }
static void end_array(struct ArrowArray *a) { if (a->release) a->release(a); free(a); }
static void end_stream(struct ArrowArrayStream *s) { if (s->release) s->release(s); free(s); }
*/
import "C"

import "unsafe"

// Batch is a record batch; End frees it.
type Batch struct {
	schema *C.struct_ArrowSchema
	array  *C.struct_ArrowArray
}

// Schema is a *struct ArrowSchema.
func (b Batch) Schema() unsafe.Pointer { return unsafe.Pointer(b.schema) }

// Array is a *struct ArrowArray.
func (b Batch) Array() unsafe.Pointer { return unsafe.Pointer(b.array) }

// Taken says whether both were released by who took them.
func (b Batch) Taken() bool { return b.schema.release == nil && b.array.release == nil }

// End frees the batch, and releases it where nobody did.
func (b Batch) End() {
	C.end_schema(b.schema)
	C.end_array(b.array)
}

// Released counts the schemas, arrays and streams that were released.
func Released() int64 { return int64(C.how_many_released()) }

func newSchema(format, name string, children int) *C.struct_ArrowSchema {
	f, n := C.CString(format), C.CString(name)
	defer C.free(unsafe.Pointer(f))
	defer C.free(unsafe.Pointer(n))
	return C.schema(f, n, C.int64_t(children))
}

func buffer[T any](a *C.struct_ArrowArray, at int, values []T) {
	var one T
	var first unsafe.Pointer
	if len(values) > 0 {
		first = unsafe.Pointer(&values[0])
	}
	C.array_buffer(a, C.int64_t(at), first, C.size_t(uintptr(len(values))*unsafe.Sizeof(one)))
}

// Nulls is a batch of so many rows of columns that hold nothing at all, not even memory.
func Nulls(rows int64, columns ...string) Batch {
	b := Batch{newSchema("+s", "", len(columns)), C.array(C.int64_t(rows), 1, C.int64_t(len(columns)))}
	for i, name := range columns {
		C.schema_child(b.schema, C.int64_t(i), newSchema("n", name, 0))
		child := C.array(C.int64_t(rows), 0, 0)
		child.null_count = C.int64_t(rows)
		C.array_child(b.array, C.int64_t(i), child)
	}
	return b
}

// Texts is a batch of columns of texts, all of one length.
func Texts(names []string, columns ...[]string) Batch {
	rows := len(columns[0])
	b := Batch{newSchema("+s", "", len(columns)), C.array(C.int64_t(rows), 1, C.int64_t(len(columns)))}
	for i, column := range columns {
		offsets, bytes := []int32{0}, []byte{}
		for _, text := range column {
			bytes = append(bytes, text...)
			offsets = append(offsets, int32(len(bytes)))
		}
		C.schema_child(b.schema, C.int64_t(i), newSchema("u", names[i], 0))
		child := C.array(C.int64_t(rows), 3, 0)
		buffer(child, 1, offsets)
		buffer(child, 2, bytes)
		C.array_child(b.array, C.int64_t(i), child)
	}
	return b
}

// Rows is a fixed-size list of f32 or f64: [rows, dim].
func Rows[F float32 | float64](values []F, dim string, rows int) Batch {
	format := "f"
	if unsafe.Sizeof(values[0]) == 8 {
		format = "g"
	}
	b := Batch{newSchema("+w:"+dim, "embedding", 1), C.array(C.int64_t(rows), 1, 1)}
	C.schema_child(b.schema, 0, newSchema(format, "item", 0))
	child := C.array(C.int64_t(len(values)), 2, 0)
	buffer(child, 1, values)
	C.array_child(b.array, 0, child)
	return b
}

// Stream is a stream of one batch, which it takes; End frees it.
type Stream struct{ stream *C.struct_ArrowArrayStream }

// StreamOf streams a batch; a failing one breaks instead.
func StreamOf(b Batch, failing bool) Stream {
	fails := C.int(0)
	if failing {
		fails = 1
	}
	return Stream{C.stream_of(b.schema, b.array, fails)}
}

// Pointer is a *struct ArrowArrayStream.
func (s Stream) Pointer() unsafe.Pointer { return unsafe.Pointer(s.stream) }

// Taken says whether it was released by who took it.
func (s Stream) Taken() bool { return s.stream.release == nil }

// End frees the stream, and releases it where nobody did.
func (s Stream) End() { C.end_stream(s.stream) }
