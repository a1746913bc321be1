package causerie

/*
#include <causerie.h>
*/
import "C"

import (
	"context"
	"runtime"
	"unsafe"
)

// Embeddings are rows of reviews: f32 [rows, dim].
type Embeddings struct {
	h noun[*C.causerie_embeddings]
}

func newEmbeddings(l *loan) *Embeddings {
	e := &Embeddings{}
	runtime.SetFinalizer(e, (*Embeddings).Close)
	l.making(e.Close)
	return e
}

// lend is the handle for C; nil is NULL, where embeddings may be absent.
func (e *Embeddings) lend(l *loan) *C.causerie_embeddings {
	if e == nil {
		return nil
	}
	return e.need(l)
}

// need is the handle for C.
func (e *Embeddings) need(l *loan) *C.causerie_embeddings {
	if e == nil || e.h.p == nil {
		l.missing("embeddings", e == nil)
		return nil
	}
	l.live = append(l.live, e)
	return e.h.p
}

// Embed embeds every review. folder keeps rows and embedder, so that a stopped embedding goes on; "" keeps nothing.
func Embed(ctx context.Context, d *Dataset, c *Config, folder string) (*Embeddings, error) {
	var l loan
	defer l.end()
	dataset, config, f, e := d.need(&l), c.lend(&l), l.name("folder", folder), newEmbeddings(&l)
	err := l.under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_embed(dataset, config, f, run, &e.h.p)
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// EmbedShard embeds the reviews of shard index (from 0) of count alone, into folder, and returns how many shards are still to be
// made. Once all lie in the folder, its embeddings.json lists them, for OpenEmbeddings.
func EmbedShard(ctx context.Context, d *Dataset, c *Config, folder string, index, count int) (missing int, err error) {
	var l loan
	defer l.end()
	dataset, config, f := d.need(&l), c.lend(&l), l.name("folder", folder)
	i, n := l.count("the number of a shard", index), l.count("the number of shards", count)
	var left C.size_t
	err = l.under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_embed_shard(dataset, config, f, i, n, run, &left)
	})
	return int(left), err
}

// JoinShards lists shards that were brought together in folder, and returns how many are not there.
func JoinShards(folder string, count int) (missing int, err error) {
	var l loan
	defer l.end()
	f, n := l.name("folder", folder), l.count("the number of shards", count)
	var left C.size_t
	err = l.call(func() *C.causerie_error { return C.causerie_embed_join(f, n, &left) })
	return int(left), err
}

// OpenEmbeddings maps rows too many for memory, of a safetensors file or a list of shards: for selecting.
func OpenEmbeddings(file string) (*Embeddings, error) {
	var l loan
	defer l.end()
	f, e := l.name("file", file), newEmbeddings(&l)
	if err := l.call(func() *C.causerie_error { return C.causerie_embeddings_open(f, &e.h.p) }); err != nil {
		return nil, err
	}
	return e, nil
}

// EmbeddingsFromRows copies rows of your own: [rows, dim], row-major. No row may be zeros or hold NaN. They can be selected on;
// tuning and recommending need rows of Embed.
func EmbeddingsFromRows(values []float32, rows, dim int) (*Embeddings, error) {
	var l loan
	defer l.end()
	r, d, e := l.count("the number of rows", rows), l.count("the length of a row", dim), newEmbeddings(&l)
	var first *C.float
	switch {
	case values == nil:
		l.fail(invalid("the values of the embeddings are nil"))
	case rows < 0 || dim < 0: // said already
	case rows != 0 && dim > len(values)/rows || rows*dim != len(values):
		l.fail(invalid("%d x %d embeddings are not %d values", rows, dim, len(values)))
	case len(values) > 0:
		first = (*C.float)(unsafe.Pointer(&values[0]))
	}
	if err := l.call(func() *C.causerie_error { return C.causerie_embeddings_from_rows(first, r, d, &e.h.p) }); err != nil {
		return nil, err
	}
	return e, nil
}

// EmbeddingsFromArrow copies rows of a struct ArrowArray: a fixed-size list of floats, or a struct with one such column. Schema and
// array are taken as by Dataset.AddArrow.
func EmbeddingsFromArrow(schema, array unsafe.Pointer) (*Embeddings, error) {
	var l loan
	defer l.end()
	e := newEmbeddings(&l)
	err := l.call(func() *C.causerie_error {
		return C.causerie_embeddings_from_arrow((*C.struct_ArrowSchema)(schema), (*C.struct_ArrowArray)(array), &e.h.p)
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// EmbeddingsFromArrowStream does the same with all batches of a struct ArrowArrayStream.
func EmbeddingsFromArrowStream(stream unsafe.Pointer) (*Embeddings, error) {
	var l loan
	defer l.end()
	e := newEmbeddings(&l)
	err := l.call(func() *C.causerie_error {
		return C.causerie_embeddings_from_arrow_stream((*C.struct_ArrowArrayStream)(stream), &e.h.p)
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Shape is rows and values per row.
func (e *Embeddings) Shape() (rows, dim int) {
	if e == nil {
		return 0, 0
	}
	defer runtime.KeepAlive(e)
	var r, d C.size_t
	C.causerie_embeddings_data(e.h.p, &r, &d)
	return int(r), int(d)
}

// Row copies one row; nil past the end, and for rows of OpenEmbeddings.
func (e *Embeddings) Row(i int) []float32 {
	return e.rows(i, 1)
}

// Values copies all rows, [rows, dim], row-major; nil for rows of OpenEmbeddings.
func (e *Embeddings) Values() []float32 {
	return e.rows(0, -1)
}

// rows copies count rows from one on, all of them for -1.
func (e *Embeddings) rows(from, count int) []float32 {
	if e == nil {
		return nil
	}
	e.h.lent.RLock()
	defer e.h.lent.RUnlock()
	var r, d C.size_t
	data := C.causerie_embeddings_data(e.h.p, &r, &d)
	if count < 0 {
		count = int(r)
	}
	if data == nil || from < 0 || from > int(r)-count {
		return nil
	}
	all := unsafe.Slice((*float32)(unsafe.Pointer(data)), int(r*d))
	return append([]float32(nil), all[from*int(d):(from+count)*int(d)]...)
}

// Save writes the rows to a safetensors file: one f32 tensor "embeddings" [rows, dim].
func (e *Embeddings) Save(file string) error {
	var l loan
	defer l.end()
	p, f := e.need(&l), l.name("file", file)
	return l.call(func() *C.causerie_error { return C.causerie_embeddings_save(p, f) })
}

// Pack writes the rows to a file that OpenEmbeddings maps; store is "f32", "f16" or "i8".
func (e *Embeddings) Pack(ctx context.Context, store, file string) error {
	var l loan
	defer l.end()
	p, s, f := e.need(&l), l.name("store", store), l.name("file", file)
	return l.under(ctx, func(run *C.causerie_run) *C.causerie_error { return C.causerie_embeddings_pack(p, s, f, run) })
}

// Close ends the embeddings; what was made of them goes on working.
func (e *Embeddings) Close() {
	if e == nil {
		return
	}
	e.h.lent.Lock()
	defer e.h.lent.Unlock()
	C.causerie_embeddings_free(e.h.p)
	e.h.shut = true
}
