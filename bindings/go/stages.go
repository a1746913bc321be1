package causerie

/*
#include <stdlib.h>
#include <causerie.h>
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"
	"unsafe"
)

// Table is a table of a Dataset.
type Table int

// The tables.
const (
	Items        Table = C.CAUSERIE_ITEMS
	Reviews      Table = C.CAUSERIE_REVIEWS
	Interactions Table = C.CAUSERIE_INTERACTIONS
)

// Simulate writes a simulated domain into folder.
func Simulate(ctx context.Context, c *Config, folder string) error {
	if err := noNUL(folder); err != nil {
		return err
	}
	f, free := path(folder)
	defer free()
	defer runtime.KeepAlive(c)
	return under(ctx, func(run *C.causerie_run) *C.causerie_error { return C.causerie_simulate(c.raw(), f, run) })
}

// Dataset holds items, reviews and interactions.
type Dataset struct {
	p    *C.causerie_dataset
	lent sync.RWMutex
}

func newDataset(p *C.causerie_dataset) *Dataset {
	d := &Dataset{p: p}
	runtime.SetFinalizer(d, (*Dataset).Close)
	return d
}

// NewDataset is empty; add the items first.
func NewDataset(c *Config) (*Dataset, error) {
	defer runtime.KeepAlive(c)
	var p *C.causerie_dataset
	if err := check(C.causerie_dataset_new(c.raw(), &p)); err != nil {
		return nil, err
	}
	return newDataset(p), nil
}

// ImportDataset reads the files that the settings name.
func ImportDataset(ctx context.Context, c *Config) (*Dataset, error) {
	defer runtime.KeepAlive(c)
	var p *C.causerie_dataset
	err := under(ctx, func(run *C.causerie_run) *C.causerie_error { return C.causerie_dataset_import(c.raw(), run, &p) })
	if err != nil {
		return nil, err
	}
	return newDataset(p), nil
}

// Add adds JSON lines (or CSV, for interactions): all of them, or nothing.
func (d *Dataset) Add(t Table, lines []byte) error {
	defer runtime.KeepAlive(d)
	p, n := bytesOf(lines)
	return check(C.causerie_dataset_add(d.p, C.int32_t(t), p, n))
}

// AddFile adds a file: plain, .gz or .zst.
func (d *Dataset) AddFile(ctx context.Context, t Table, file string) error {
	if err := noNUL(file); err != nil {
		return err
	}
	f, free := path(file)
	defer free()
	defer runtime.KeepAlive(d)
	return under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_dataset_add_file(d.p, C.int32_t(t), f, run)
	})
}

// AddArrow adds a record batch by the Arrow C Data Interface: pointers to an ArrowSchema and an ArrowArray, which are taken.
func (d *Dataset) AddArrow(t Table, schema, array unsafe.Pointer) error {
	defer runtime.KeepAlive(d)
	return check(C.causerie_dataset_add_arrow(d.p, C.int32_t(t), (*C.struct_ArrowSchema)(schema), (*C.struct_ArrowArray)(array)))
}

// Count is the number of rows of a table.
func (d *Dataset) Count(t Table) int {
	defer runtime.KeepAlive(d)
	return int(C.causerie_dataset_count(d.p, C.int32_t(t)))
}

// Title is "Title (1999)" of item i; "" past the end.
func (d *Dataset) Title(i int) string {
	d.lent.RLock()
	defer d.lent.RUnlock()
	defer runtime.KeepAlive(d)
	return C.GoString(C.causerie_dataset_title(d.p, C.size_t(i)))
}

// raw is NULL for nil, where a dataset may be absent.
func (d *Dataset) raw() *C.causerie_dataset {
	if d == nil {
		return nil
	}
	return d.p
}

// Close ends the dataset; what was made of it goes on working.
func (d *Dataset) Close() {
	d.lent.Lock()
	defer d.lent.Unlock()
	C.causerie_dataset_free(d.p)
	runtime.SetFinalizer(d, nil)
}

// Embeddings are rows of reviews.
type Embeddings struct {
	p    *C.causerie_embeddings
	lent sync.RWMutex
}

// Embed embeds every review. folder keeps rows and embedder, so that a stopped embedding goes on; "" keeps nothing.
func Embed(ctx context.Context, d *Dataset, c *Config, folder string) (*Embeddings, error) {
	if err := noNUL(folder); err != nil {
		return nil, err
	}
	f, free := path(folder)
	defer free()
	defer runtime.KeepAlive(d)
	defer runtime.KeepAlive(c)
	e := &Embeddings{}
	err := under(ctx, func(run *C.causerie_run) *C.causerie_error { return C.causerie_embed(d.p, c.raw(), f, run, &e.p) })
	if err != nil {
		return nil, err
	}
	runtime.SetFinalizer(e, (*Embeddings).Close)
	return e, nil
}

// EmbeddingsFromRows copies rows of your own: [rows, dim], row-major.
func EmbeddingsFromRows(values []float32, rows, dim int) (*Embeddings, error) {
	if rows < 0 || dim < 0 || rows*dim != len(values) {
		return nil, &Error{Invalid, "embeddings: rows x dim is not the number of values"}
	}
	var first *C.float
	if len(values) > 0 {
		first = (*C.float)(unsafe.Pointer(&values[0]))
	}
	e := &Embeddings{}
	if err := check(C.causerie_embeddings_from_rows(first, C.size_t(rows), C.size_t(dim), &e.p)); err != nil {
		return nil, err
	}
	runtime.SetFinalizer(e, (*Embeddings).Close)
	return e, nil
}

// Shape is rows and values per row.
func (e *Embeddings) Shape() (rows, dim int) {
	defer runtime.KeepAlive(e)
	var r, d C.size_t
	C.causerie_embeddings_data(e.p, &r, &d)
	return int(r), int(d)
}

// Row copies one row.
func (e *Embeddings) Row(i int) []float32 {
	e.lent.RLock()
	defer e.lent.RUnlock()
	defer runtime.KeepAlive(e)
	var r, d C.size_t
	data := C.causerie_embeddings_data(e.p, &r, &d)
	if data == nil || i < 0 || i >= int(r) {
		return nil
	}
	all := unsafe.Slice((*float32)(unsafe.Pointer(data)), int(r*d))
	return append([]float32(nil), all[i*int(d):(i+1)*int(d)]...)
}

// Close ends the embeddings.
func (e *Embeddings) Close() {
	e.lent.Lock()
	defer e.lent.Unlock()
	C.causerie_embeddings_free(e.p)
	runtime.SetFinalizer(e, nil)
}

// Selection holds seed rows, most informative first.
type Selection struct {
	p    *C.causerie_selection
	lent sync.RWMutex
}

// OpenEmbeddings maps rows too many for memory, of a safetensors file or a list of shards: for selecting.
func OpenEmbeddings(file string) (*Embeddings, error) {
	if err := noNUL(file); err != nil {
		return nil, err
	}
	f, free := path(file)
	defer free()
	e := &Embeddings{}
	if err := check(C.causerie_embeddings_open(f, &e.p)); err != nil {
		return nil, err
	}
	runtime.SetFinalizer(e, (*Embeddings).Close)
	return e, nil
}

// EmbedShard embeds the reviews of shard index of count alone, into folder, and returns how many shards are still to be made.
// Once all lie in the folder, its embeddings.json lists them, for OpenEmbeddings.
func EmbedShard(ctx context.Context, d *Dataset, c *Config, folder string, index, count int) (missing int, err error) {
	if err := noNUL(folder); err != nil {
		return 0, err
	}
	f, free := path(folder)
	defer free()
	defer runtime.KeepAlive(d)
	defer runtime.KeepAlive(c)
	var left C.size_t
	err = under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_embed_shard(d.p, c.raw(), f, C.size_t(index), C.size_t(count), run, &left)
	})
	return int(left), err
}

// JoinShards lists shards that were brought together in folder, and returns how many are not there.
func JoinShards(folder string, count int) (missing int, err error) {
	if err := noNUL(folder); err != nil {
		return 0, err
	}
	f, free := path(folder)
	defer free()
	var left C.size_t
	err = check(C.causerie_embed_join(f, C.size_t(count), &left))
	return int(left), err
}

// Pack writes the rows to a file that OpenEmbeddings maps; store is "f32", "f16" or "i8".
func (e *Embeddings) Pack(ctx context.Context, store, file string) error {
	if err := noNUL(store, file); err != nil {
		return err
	}
	s, freeStore := path(store)
	defer freeStore()
	f, free := path(file)
	defer free()
	defer runtime.KeepAlive(e)
	return under(ctx, func(run *C.causerie_run) *C.causerie_error { return C.causerie_embeddings_pack(e.p, s, f, run) })
}

// FitCenters writes the centres of K-means over all rows to file, for select.centers: the JS strategies then select on them,
// here or on other machines.
func FitCenters(ctx context.Context, d *Dataset, e *Embeddings, c *Config, file string) error {
	if err := noNUL(file); err != nil {
		return err
	}
	f, free := path(file)
	defer free()
	defer runtime.KeepAlive(d)
	defer runtime.KeepAlive(e)
	defer runtime.KeepAlive(c)
	return under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_select_centers(d.raw(), e.p, c.raw(), run, f)
	})
}

// SelectPart is the first step of a selection that several machines share: part number of parts, from 0, writes its picks to
// file. MergeParts lays the files of all parts together, FinaliseParts selects from them.
func SelectPart(ctx context.Context, d *Dataset, e *Embeddings, number, parts int, c *Config, file string) error {
	if err := noNUL(file); err != nil {
		return err
	}
	f, free := path(file)
	defer free()
	defer runtime.KeepAlive(d)
	defer runtime.KeepAlive(e)
	defer runtime.KeepAlive(c)
	return under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_select_part(d.raw(), e.p, C.uint64_t(number), C.uint64_t(parts), c.raw(), run, f)
	})
}

// MergeParts is the second step: the files of all parts, into merged.
func MergeParts(files []string, merged string) error {
	if err := noNUL(append([]string{merged}, files...)...); err != nil {
		return err
	}
	m, free := path(merged)
	defer free()
	names := (**C.char)(C.calloc(C.size_t(len(files)+1), C.size_t(unsafe.Sizeof(uintptr(0)))))
	defer C.free(unsafe.Pointer(names))
	for i, file := range files {
		f, free := path(file)
		defer free()
		unsafe.Slice(names, len(files))[i] = f
	}
	return check(C.causerie_select_merge(names, C.size_t(len(files)), m))
}

// FinaliseParts is the third step: the selection of what MergeParts wrote.
func FinaliseParts(ctx context.Context, d *Dataset, e *Embeddings, merged string, c *Config) (*Selection, error) {
	if err := noNUL(merged); err != nil {
		return nil, err
	}
	m, free := path(merged)
	defer free()
	defer runtime.KeepAlive(d)
	defer runtime.KeepAlive(e)
	defer runtime.KeepAlive(c)
	s := &Selection{}
	err := under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_select_finalise(d.raw(), e.p, m, c.raw(), run, &s.p)
	})
	if err != nil {
		return nil, err
	}
	runtime.SetFinalizer(s, (*Selection).Close)
	return s, nil
}

// SelectKeeping is Select with its picks so far in the file checkpoint: stopped, the same call goes on from there.
func SelectKeeping(ctx context.Context, d *Dataset, e *Embeddings, earlier *Selection, checkpoint string, c *Config) (*Selection, error) {
	if err := noNUL(checkpoint); err != nil {
		return nil, err
	}
	k, free := path(checkpoint)
	defer free()
	return selecting(ctx, d, e, earlier, k, c)
}

// Select selects select.budget rows; d may be nil for random, js and fisher, earlier may be nil.
func Select(ctx context.Context, d *Dataset, e *Embeddings, earlier *Selection, c *Config) (*Selection, error) {
	return selecting(ctx, d, e, earlier, nil, c)
}

func selecting(ctx context.Context, d *Dataset, e *Embeddings, earlier *Selection, checkpoint *C.char, c *Config) (*Selection, error) {
	defer runtime.KeepAlive(d)
	defer runtime.KeepAlive(e)
	defer runtime.KeepAlive(c)
	defer runtime.KeepAlive(earlier)
	var before *C.causerie_selection
	if earlier != nil {
		before = earlier.p
	}
	s := &Selection{}
	err := under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_select_keeping(d.raw(), e.p, before, checkpoint, c.raw(), run, &s.p)
	})
	if err != nil {
		return nil, err
	}
	runtime.SetFinalizer(s, (*Selection).Close)
	return s, nil
}

// Rows copies the selected rows, most informative first.
func (s *Selection) Rows() []uint64 {
	s.lent.RLock()
	defer s.lent.RUnlock()
	defer runtime.KeepAlive(s)
	var n C.size_t
	data := C.causerie_selection_rows(s.p, &n)
	if data == nil || n == 0 {
		return nil
	}
	return append([]uint64(nil), unsafe.Slice((*uint64)(unsafe.Pointer(data)), int(n))...)
}

// Close ends the selection.
func (s *Selection) Close() {
	s.lent.Lock()
	defer s.lent.Unlock()
	C.causerie_selection_free(s.p)
	runtime.SetFinalizer(s, nil)
}

// ExportRequests writes the requests of Synthesize that can be made now and are not answered in journal to file, for a batch
// endpoint, and returns how many those are.
func ExportRequests(ctx context.Context, d *Dataset, s *Selection, c *Config, journal, file string) (requests uint64, err error) {
	if err := noNUL(journal, file); err != nil {
		return 0, err
	}
	j, freeJournal := path(journal)
	defer freeJournal()
	f, freeFile := path(file)
	defer freeFile()
	defer runtime.KeepAlive(d)
	defer runtime.KeepAlive(s)
	defer runtime.KeepAlive(c)
	var n C.uint64_t
	err = under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_synthesize_export(d.p, s.p, c.raw(), j, f, run, &n, nil)
	})
	return uint64(n), err
}

// ImportAnswers takes a batch endpoint's answers into journal, and returns how many requests are still without one.
func ImportAnswers(ctx context.Context, journal, answers string) (missing uint64, err error) {
	if err := noNUL(journal, answers); err != nil {
		return 0, err
	}
	j, freeJournal := path(journal)
	defer freeJournal()
	a, freeAnswers := path(answers)
	defer freeAnswers()
	var n C.uint64_t
	err = under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_synthesize_import(j, a, run, nil, &n)
	})
	return uint64(n), err
}

// Dialogues are training pairs.
type Dialogues struct {
	p    *C.causerie_dialogues
	lent sync.RWMutex
}

// Synthesize makes dialogues with the teacher of the settings; journal keeps requests and answers, "" keeps nothing.
func Synthesize(ctx context.Context, d *Dataset, s *Selection, c *Config, round uint64, journal string) (*Dialogues, error) {
	if err := noNUL(journal); err != nil {
		return nil, err
	}
	j, free := path(journal)
	defer free()
	defer runtime.KeepAlive(d)
	defer runtime.KeepAlive(s)
	defer runtime.KeepAlive(c)
	t := &Dialogues{}
	err := under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_synthesize(d.p, s.p, c.raw(), C.uint64_t(round), j, run, &t.p)
	})
	if err != nil {
		return nil, err
	}
	runtime.SetFinalizer(t, (*Dialogues).Close)
	return t, nil
}

// SynthesizeWith makes dialogues with a teacher of your own, called name.
func SynthesizeWith(ctx context.Context, d *Dataset, s *Selection, name string, teacher Teacher, c *Config, round uint64, journal string) (*Dialogues, error) {
	if err := noNUL(journal, name); err != nil {
		return nil, err
	}
	j, free := path(journal)
	defer free()
	n := C.CString(name)
	defer C.free(unsafe.Pointer(n))
	defer runtime.KeepAlive(d)
	defer runtime.KeepAlive(s)
	defer runtime.KeepAlive(c)
	if ctx == nil {
		ctx = context.Background()
	}
	a := &asking{ctx: ctx, teacher: teacher}
	data, forget := keep(a)
	defer forget()
	t := &Dialogues{}
	err := under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_synthesize_with(d.p, s.p, n, teacherFn(), data, c.raw(), C.uint64_t(round), j, run, &t.p)
	})
	if a.err != nil && err != nil {
		return nil, a.err
	}
	if err != nil {
		return nil, err
	}
	runtime.SetFinalizer(t, (*Dialogues).Close)
	return t, nil
}

// Len is the number of dialogues.
func (t *Dialogues) Len() int {
	defer runtime.KeepAlive(t)
	return int(C.causerie_dialogues_count(t.p))
}

// JSON is dialogue i; "" past the end.
func (t *Dialogues) JSON(i int) string {
	t.lent.RLock()
	defer t.lent.RUnlock()
	defer runtime.KeepAlive(t)
	return C.GoString(C.causerie_dialogues_get(t.p, C.size_t(i)))
}

// Add appends the dialogues of a later round.
func (t *Dialogues) Add(more *Dialogues) error {
	defer runtime.KeepAlive(t)
	defer runtime.KeepAlive(more)
	return check(C.causerie_dialogues_add(t.p, more.p))
}

// Save writes JSON lines in chat format.
func (t *Dialogues) Save(file string) error {
	if err := noNUL(file); err != nil {
		return err
	}
	f, free := path(file)
	defer free()
	defer runtime.KeepAlive(t)
	return check(C.causerie_dialogues_save(t.p, f))
}

// Close ends the dialogues.
func (t *Dialogues) Close() {
	t.lent.Lock()
	defer t.lent.Unlock()
	C.causerie_dialogues_free(t.p)
	runtime.SetFinalizer(t, nil)
}

// Model is a ranking head, or the files of a tuned language model.
type Model struct {
	p    *C.causerie_model
	lent sync.RWMutex
}

func newModel(p *C.causerie_model) *Model {
	m := &Model{p: p}
	runtime.SetFinalizer(m, (*Model).Close)
	return m
}

// Tune tunes a ranking head.
func Tune(ctx context.Context, t *Dialogues, d *Dataset, e *Embeddings, c *Config) (*Model, error) {
	defer runtime.KeepAlive(t)
	defer runtime.KeepAlive(d)
	defer runtime.KeepAlive(e)
	defer runtime.KeepAlive(c)
	var p *C.causerie_model
	err := under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_tune(t.p, d.p, e.p, c.raw(), run, &p)
	})
	if err != nil {
		return nil, err
	}
	return newModel(p), nil
}

// TuneLM fine-tunes the GGUF base (tune.method lora or full) into folder. With a dataset (nil: none) a ranking head may be
// trained along (tune.objective).
func TuneLM(ctx context.Context, t *Dialogues, d *Dataset, base, folder string, c *Config) (*Model, error) {
	if err := noNUL(base, folder); err != nil {
		return nil, err
	}
	b, freeBase := path(base)
	defer freeBase()
	f, freeFolder := path(folder)
	defer freeFolder()
	defer runtime.KeepAlive(t)
	defer runtime.KeepAlive(c)
	defer runtime.KeepAlive(d)
	var p *C.causerie_model
	err := under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_tune_lm(t.p, d.raw(), b, f, c.raw(), run, &p)
	})
	if err != nil {
		return nil, err
	}
	return newModel(p), nil
}

// NewModel makes a language model from nothing, of about so many parameters, its vocabulary learned from the reviews, as a
// GGUF at file. With a folder ("": none) it is then trained on the reviews by the settings of tune.*.
func NewModel(ctx context.Context, d *Dataset, parameters uint64, file, folder string, c *Config) (*Model, error) {
	if err := noNUL(file, folder); err != nil {
		return nil, err
	}
	f, freeFile := path(file)
	defer freeFile()
	into, freeFolder := path(folder)
	defer freeFolder()
	defer runtime.KeepAlive(d)
	defer runtime.KeepAlive(c)
	var p *C.causerie_model
	err := under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_model_new(d.p, C.uint64_t(parameters), c.raw(), f, into, run, &p)
	})
	if err != nil {
		return nil, err
	}
	return newModel(p), nil
}

// MergeAdapter puts a LoRA adapter (a GGUF, or a PEFT folder) into its base: one GGUF of kind "f32", "q8_0", …
func MergeAdapter(ctx context.Context, base, adapter, kind, file string) (*Model, error) {
	if err := noNUL(base, adapter, kind, file); err != nil {
		return nil, err
	}
	b, freeBase := path(base)
	defer freeBase()
	a, freeAdapter := path(adapter)
	defer freeAdapter()
	k, freeKind := path(kind)
	defer freeKind()
	f, freeFile := path(file)
	defer freeFile()
	var p *C.causerie_model
	err := under(ctx, func(run *C.causerie_run) *C.causerie_error { return C.causerie_model_merge(b, a, k, f, run, &p) })
	if err != nil {
		return nil, err
	}
	return newModel(p), nil
}

// LoadModel reads a ranking head.
func LoadModel(file string) (*Model, error) {
	if err := noNUL(file); err != nil {
		return nil, err
	}
	f, free := path(file)
	defer free()
	var p *C.causerie_model
	if err := check(C.causerie_model_load(f, &p)); err != nil {
		return nil, err
	}
	return newModel(p), nil
}

// Save writes a ranking head.
func (m *Model) Save(file string) error {
	if err := noNUL(file); err != nil {
		return err
	}
	f, free := path(file)
	defer free()
	defer runtime.KeepAlive(m)
	return check(C.causerie_model_save(m.p, f))
}

// File is adapter.gguf or model.gguf of a language model; "" of a ranking head.
func (m *Model) File() string {
	m.lent.RLock()
	defer m.lent.RUnlock()
	defer runtime.KeepAlive(m)
	return C.GoString(C.causerie_model_file(m.p))
}

// Close ends the model.
func (m *Model) Close() {
	m.lent.Lock()
	defer m.lent.Unlock()
	C.causerie_model_free(m.p)
	runtime.SetFinalizer(m, nil)
}

// Turn is one turn of a conversation: Role is "user" or "assistant".
type Turn struct {
	Role string `json:"role"`
	Text string `json:"text"`
}

// ItemName names an item by its id, or by title and year.
type ItemName struct {
	Item  string `json:"item,omitempty"`
	Title string `json:"title,omitempty"`
	Year  int    `json:"year,omitempty"`
}

// Query is what a Recommender is asked. What is named in the turns, seen, excluded or (where Allow is not nil) not allowed
// never comes back; an Allow that is empty and not nil allows nothing.
type Query struct {
	Turns   []Turn     `json:"turns"`
	Seen    []ItemName `json:"seen,omitempty"`
	Exclude []string   `json:"exclude,omitempty"`
	Allow   *[]string  `json:"allow,omitempty"`
	// Reviews for each item, nearest to what was said; nil: as recommend.explain says.
	Explain *int `json:"explain,omitempty"`
	// The same as Exclude and Allow by rows (what ID takes), for lists that are long: no text is copied or looked up.
	ExcludeRows []uint64  `json:"-"`
	AllowRows   *[]uint64 `json:"-"`
}

// rowsOf lends rows to C for one call.
func rowsOf(rows []uint64) (*C.uint64_t, C.size_t) {
	if len(rows) == 0 {
		return nil, 0
	}
	return (*C.uint64_t)(unsafe.Pointer(&rows[0])), C.size_t(len(rows))
}

// queryOf is the query for C; causerie_query_free ends it.
func (r *Recommender) queryOf(q *Query) (p *C.causerie_query, err error) {
	if err := check(C.causerie_query_new(&p)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			C.causerie_query_free(p)
			p = nil
		}
	}()
	for _, turn := range q.Turns {
		role := C.int32_t(C.CAUSERIE_USER)
		switch turn.Role {
		case "user":
		case "assistant":
			role = C.CAUSERIE_ASSISTANT
		default:
			return p, &Error{Invalid, fmt.Sprintf("query: a turn's role is %q; \"user\" or \"assistant\"", turn.Role)}
		}
		text, n := bytesOf([]byte(turn.Text))
		if err := check(C.causerie_query_turn(p, role, text, n)); err != nil {
			return p, err
		}
	}
	for _, seen := range q.Seen {
		byID := seen.Item != ""
		if byID && seen.Title != "" {
			// By its id where the catalogue has it, else by its title.
			_, missing := r.Find(seen.Item)
			byID = missing == nil
		}
		if byID {
			id, n := bytesOf([]byte(seen.Item))
			err = check(C.causerie_query_seen(p, id, n))
		} else {
			title, n := bytesOf([]byte(seen.Title))
			err = check(C.causerie_query_seen_title(p, title, n, C.uint32_t(seen.Year)))
		}
		if err != nil {
			return p, err
		}
	}
	for _, id := range q.Exclude {
		text, n := bytesOf([]byte(id))
		if err := check(C.causerie_query_exclude(p, text, n)); err != nil {
			return p, err
		}
	}
	rows, n := rowsOf(q.ExcludeRows)
	if err := check(C.causerie_query_exclude_rows(p, rows, n)); err != nil {
		return p, err
	}
	if q.Allow != nil || q.AllowRows != nil {
		var allowed []uint64
		if q.AllowRows != nil {
			allowed = *q.AllowRows
		}
		rows, n := rowsOf(allowed)
		if err := check(C.causerie_query_allow_rows(p, rows, n)); err != nil {
			return p, err
		}
	}
	if q.Allow != nil {
		for _, id := range *q.Allow {
			text, n := bytesOf([]byte(id))
			if err := check(C.causerie_query_allow(p, text, n)); err != nil {
				return p, err
			}
		}
	}
	if q.Explain != nil {
		if *q.Explain < 0 || *q.Explain > math.MaxInt32 {
			return p, &Error{Invalid, fmt.Sprintf("query: Explain is %d; it must be from 0 to %d", *q.Explain, math.MaxInt32)}
		}
		return p, check(C.causerie_query_explain(p, C.uint32_t(*q.Explain)))
	}
	return p, nil
}

// queriesOf is several queries for C, in memory of C, and what frees them.
func (r *Recommender) queriesOf(queries []Query) (**C.causerie_query, func(), error) {
	handles := (**C.causerie_query)(C.calloc(C.size_t(len(queries)+1), C.size_t(unsafe.Sizeof(uintptr(0)))))
	all := unsafe.Slice(handles, len(queries))
	free := func() {
		for _, p := range all {
			C.causerie_query_free(p)
		}
		C.free(unsafe.Pointer(handles))
	}
	for i := range queries {
		p, err := r.queryOf(&queries[i])
		if err != nil {
			free()
			return nil, nil, err
		}
		all[i] = p
	}
	return handles, free, nil
}

// Recommendation is one item of an answer.
type Recommendation struct {
	Item, Title string
	Score       float64
	// Row is the item's row in the catalogue: what ID takes, and AllowRows and ExcludeRows.
	Row uint64 `json:"-"`
	// Reasons are reviews that speak for the item, where recommend.explain or the query asks for them.
	Reasons []Reason
}

// Reason is an excerpt of a review and its cosine to the query.
type Reason struct {
	Text       string
	Similarity float64
	// Review is its row in the dataset.
	Review uint64 `json:"-"`
}

// Recommender ranks the catalogue for a conversation. All methods may run in any number of goroutines at once.
type Recommender struct {
	p    *C.causerie_recommender
	lent sync.RWMutex
}

func newRecommender(p *C.causerie_recommender) *Recommender {
	r := &Recommender{p: p}
	runtime.SetFinalizer(r, (*Recommender).Close)
	return r
}

// OpenRecommender opens a finished work directory; strategy "" is the first one of its run.
func OpenRecommender(ctx context.Context, workDir, strategy string, c *Config) (*Recommender, error) {
	if err := noNUL(workDir, strategy); err != nil {
		return nil, err
	}
	w, freeDir := path(workDir)
	defer freeDir()
	s, freeStrategy := path(strategy)
	defer freeStrategy()
	defer runtime.KeepAlive(c)
	var p *C.causerie_recommender
	err := under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_recommender_open(w, s, c.raw(), run, &p)
	})
	if err != nil {
		return nil, err
	}
	return newRecommender(p), nil
}

// NewRecommender makes one of what the stages made; what recommend.system does not need may be nil.
func NewRecommender(ctx context.Context, d *Dataset, e *Embeddings, m *Model, t *Dialogues, c *Config) (*Recommender, error) {
	defer runtime.KeepAlive(d)
	defer runtime.KeepAlive(e)
	defer runtime.KeepAlive(m)
	defer runtime.KeepAlive(t)
	defer runtime.KeepAlive(c)
	var embeddings *C.causerie_embeddings
	if e != nil {
		embeddings = e.p
	}
	var model *C.causerie_model
	if m != nil {
		model = m.p
	}
	var dialogues *C.causerie_dialogues
	if t != nil {
		dialogues = t.p
	}
	var p *C.causerie_recommender
	err := under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_recommender_new(d.p, embeddings, model, dialogues, c.raw(), run, &p)
	})
	if err != nil {
		return nil, err
	}
	return newRecommender(p), nil
}

// OpenLM opens a language model over the catalogue of d; adapter "" is none.
func OpenLM(ctx context.Context, d *Dataset, gguf, adapter string, c *Config) (*Recommender, error) {
	if err := noNUL(gguf, adapter); err != nil {
		return nil, err
	}
	g, freeModel := path(gguf)
	defer freeModel()
	a, freeAdapter := path(adapter)
	defer freeAdapter()
	defer runtime.KeepAlive(d)
	defer runtime.KeepAlive(c)
	var p *C.causerie_recommender
	err := under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_recommender_open_lm(d.p, g, a, c.raw(), run, &p)
	})
	if err != nil {
		return nil, err
	}
	return newRecommender(p), nil
}

// Len is the number of items that it ranks.
func (r *Recommender) Len() int {
	defer runtime.KeepAlive(r)
	return int(C.causerie_recommender_count(r.p))
}

// ID is the id of item row i; "" past the end.
func (r *Recommender) ID(i int) string {
	r.lent.RLock()
	defer r.lent.RUnlock()
	defer runtime.KeepAlive(r)
	return C.GoString(C.causerie_recommender_id(r.p, C.size_t(i)))
}

// Find is the row of the item of an id; an Error with code NotFound where there is none.
func (r *Recommender) Find(id string) (uint64, error) {
	defer runtime.KeepAlive(r)
	text, n := bytesOf([]byte(id))
	var row C.uint64_t
	err := check(C.causerie_recommender_find(r.p, text, n, &row))
	return uint64(row), err
}

// Recommend answers a query with its topK best items; 0 takes recommend.top_k.
func (r *Recommender) Recommend(ctx context.Context, q Query, topK int) ([]Recommendation, error) {
	all, err := r.RecommendMany(ctx, []Query{q}, topK)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// Reply is what came of a query: its items, best first, and what is to be said of them.
type Reply struct {
	Items []Recommendation
	// Partial: the time was up before the search was, and these are the items found by then.
	Partial bool
	// Truncated: the conversation was longer than what the recommender reads.
	Truncated bool
	// Warnings name what is not in the catalogue, what was cut, what is missing.
	Warnings []string
}

// Ask answers a query as Recommend does, and says what there is to say of the answer.
func (r *Recommender) Ask(ctx context.Context, q Query, topK int) (answer Reply, err error) {
	err = r.replies(ctx, []Query{q}, topK, func(_ int, reply *C.causerie_reply) {
		answer.Items = itemsOf(reply)
		answer.Partial = C.causerie_reply_partial(reply) != 0
		answer.Truncated = C.causerie_reply_truncated(reply) != 0
		for i := C.size_t(0); ; i++ {
			warning := C.causerie_reply_warning(reply, i)
			if warning == nil {
				break
			}
			answer.Warnings = append(answer.Warnings, C.GoString(warning))
		}
	})
	return answer, err
}

// RecommendMany answers several queries in one call, which costs less than as many calls. A score may differ in its last digits
// from that of the query alone: sums are taken in another order.
func (r *Recommender) RecommendMany(ctx context.Context, queries []Query, topK int) ([][]Recommendation, error) {
	answers := make([][]Recommendation, len(queries))
	err := r.replies(ctx, queries, topK, func(i int, reply *C.causerie_reply) { answers[i] = itemsOf(reply) })
	if err != nil {
		return nil, err
	}
	return answers, nil
}

// Rank answers a query by rows and scores alone, for who keeps a catalogue of their own: no text is made or copied.
func (r *Recommender) Rank(ctx context.Context, q Query, topK int) (rows []uint64, scores []float64, err error) {
	err = r.replies(ctx, []Query{q}, topK, func(_ int, reply *C.causerie_reply) {
		var n C.size_t
		at, score := C.causerie_reply_rows(reply, &n), C.causerie_reply_scores(reply, &n)
		if n > 0 {
			rows = append(rows, unsafe.Slice((*uint64)(unsafe.Pointer(at)), int(n))...)
			scores = append(scores, unsafe.Slice((*float64)(unsafe.Pointer(score)), int(n))...)
		}
	})
	return rows, scores, err
}

// Say answers a query, and says a sentence about the best items in the language model's own words: it names items of the
// answer and nothing else of the catalogue. WithTokens hears it while it is written.
func (r *Recommender) Say(ctx context.Context, q Query, topK int) (sentence string, items []Recommendation, err error) {
	defer runtime.KeepAlive(r)
	if err := checkTopK(topK); err != nil {
		return "", nil, err
	}
	handles, free, err := r.queriesOf([]Query{q})
	if err != nil {
		return "", nil, err
	}
	defer free()
	var reply *C.causerie_reply
	err = under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_recommend_query(r.p, *handles, C.uint32_t(topK), run, &reply)
	})
	if err != nil {
		return "", nil, err
	}
	defer C.causerie_reply_free(reply)
	var said *C.char
	err = under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_recommender_say(r.p, *handles, reply, run, &said)
	})
	return C.GoString(said), itemsOf(reply), err
}

func checkTopK(topK int) error {
	if topK < 0 || topK > math.MaxInt32 {
		return &Error{Invalid, fmt.Sprintf("recommend: topK is %d; it must be from 0 to %d", topK, math.MaxInt32)}
	}
	return nil
}

// replies hands each reply to read, and ends it.
func (r *Recommender) replies(ctx context.Context, queries []Query, topK int, read func(int, *C.causerie_reply)) error {
	defer runtime.KeepAlive(r)
	if err := checkTopK(topK); err != nil {
		return err
	}
	handles, free, err := r.queriesOf(queries)
	if err != nil {
		return err
	}
	defer free()
	raw := (**C.causerie_reply)(C.calloc(C.size_t(len(queries)+1), C.size_t(unsafe.Sizeof(uintptr(0)))))
	defer C.free(unsafe.Pointer(raw))
	err = under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_recommend_many(r.p, handles, C.size_t(len(queries)), C.uint32_t(topK), run, raw)
	})
	if err != nil {
		return err
	}
	for i, reply := range unsafe.Slice(raw, len(queries)) {
		read(i, reply)
		C.causerie_reply_free(reply)
	}
	return nil
}

func itemsOf(reply *C.causerie_reply) []Recommendation {
	var n C.size_t
	rows := C.causerie_reply_rows(reply, &n)
	items := make([]Recommendation, 0, int(n))
	for i := C.size_t(0); i < n; i++ {
		var score C.double
		id := C.causerie_reply_item(reply, i, &score)
		item := Recommendation{Item: C.GoString(id), Title: C.GoString(C.causerie_reply_title(reply, i)), Score: float64(score)}
		item.Row = uint64(unsafe.Slice(rows, int(n))[i])
		for k := C.size_t(0); ; k++ {
			var similarity C.double
			text := C.causerie_reply_evidence(reply, i, k, &similarity)
			if text == nil {
				break
			}
			review := uint64(C.causerie_reply_evidence_row(reply, i, k))
			item.Reasons = append(item.Reasons, Reason{C.GoString(text), float64(similarity), review})
		}
		items = append(items, item)
	}
	return items
}

// Score scores the whole catalogue in the order of ID; -Inf for what the query masks.
func (r *Recommender) Score(ctx context.Context, q Query) ([]float32, error) {
	defer runtime.KeepAlive(r)
	query, err := r.queryOf(&q)
	if err != nil {
		return nil, err
	}
	defer C.causerie_query_free(query)
	// Items may join between the count and the call: then once more.
	for retried := false; ; retried = true {
		items := r.Len()
		scores := make([]float32, items)
		var first *C.float
		if items > 0 {
			first = (*C.float)(unsafe.Pointer(&scores[0]))
		}
		err = under(ctx, func(run *C.causerie_run) *C.causerie_error {
			return C.causerie_score_query(r.p, query, run, first, C.size_t(items))
		})
		if err == nil {
			return scores, nil
		}
		if retried || r.Len() == items || !errors.Is(err, &Error{Code: Invalid}) {
			return nil, err
		}
	}
}

// Add adds items (JSON lines) to a recommender that serves; other calls may run beside it.
func (r *Recommender) Add(ctx context.Context, lines []byte) error {
	defer runtime.KeepAlive(r)
	p, n := bytesOf(lines)
	return under(ctx, func(run *C.causerie_run) *C.causerie_error { return C.causerie_recommender_add(r.p, p, n, run) })
}

// Bytes is about how much memory it holds.
func (r *Recommender) Bytes() uint64 {
	defer runtime.KeepAlive(r)
	return uint64(C.causerie_recommender_bytes(r.p))
}

// Generation is the number of the adapters that serve, of a language model.
func (r *Recommender) Generation() (uint64, error) {
	defer runtime.KeepAlive(r)
	var n C.uint64_t
	err := check(C.causerie_recommender_generation(r.p, &n))
	return uint64(n), err
}

// SwapAdapter puts another adapter ("" for none) in the place of generation expected, while requests are answered.
func (r *Recommender) SwapAdapter(expected uint64, adapter string, scale float32) (uint64, error) {
	if err := noNUL(adapter); err != nil {
		return 0, err
	}
	a, free := path(adapter)
	defer free()
	defer runtime.KeepAlive(r)
	var n C.uint64_t
	err := check(C.causerie_recommender_swap_adapter(r.p, C.uint64_t(expected), a, C.float(scale), &n))
	return uint64(n), err
}

// Close ends the recommender; calls under way go on to their end.
func (r *Recommender) Close() {
	r.lent.Lock()
	defer r.lent.Unlock()
	C.causerie_recommender_free(r.p)
	runtime.SetFinalizer(r, nil)
}

// Report is what came of an evaluation, or of the whole loop.
type Report struct {
	p    *C.causerie_report
	lent sync.RWMutex
}

func newReport(p *C.causerie_report) *Report {
	r := &Report{p: p}
	runtime.SetFinalizer(r, (*Report).Close)
	return r
}

// Evaluate scores recommenders of one catalogue on the same conversations (JSON lines; nil: the files of the settings).
func Evaluate(ctx context.Context, systems []*Recommender, conversations []byte, c *Config) (*Report, error) {
	defer runtime.KeepAlive(systems)
	defer runtime.KeepAlive(c)
	handles := (**C.causerie_recommender)(C.calloc(C.size_t(len(systems)+1), C.size_t(unsafe.Sizeof(uintptr(0)))))
	defer C.free(unsafe.Pointer(handles))
	for i, s := range systems {
		if s == nil {
			return nil, &Error{Invalid, fmt.Sprintf("evaluate: recommender %d is nil", i)}
		}
		unsafe.Slice(handles, len(systems))[i] = s.p
	}
	p, n := bytesOf(conversations)
	var out *C.causerie_report
	err := under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_evaluate(handles, C.size_t(len(systems)), p, n, c.raw(), run, &out)
	})
	if err != nil {
		return nil, err
	}
	return newReport(out), nil
}

// Pipeline runs the whole loop into workDir; it resumes.
func Pipeline(ctx context.Context, c *Config, workDir string, restart bool) (*Report, error) {
	if err := noNUL(workDir); err != nil {
		return nil, err
	}
	w, free := path(workDir)
	defer free()
	defer runtime.KeepAlive(c)
	again := C.int32_t(0)
	if restart {
		again = 1
	}
	var out *C.causerie_report
	err := under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_pipeline(c.raw(), w, again, run, &out)
	})
	if err != nil {
		return nil, err
	}
	return newReport(out), nil
}

// JSON is the whole report.
func (r *Report) JSON() string {
	r.lent.RLock()
	defer r.lent.RUnlock()
	defer runtime.KeepAlive(r)
	return C.GoString(C.causerie_report_json(r.p))
}

// Metric is mean and standard error of "recall@10" and its like of a system, items already mentioned removed.
func (r *Report) Metric(system int, name string) (mean, se float64, err error) {
	if err := noNUL(name); err != nil {
		return 0, 0, err
	}
	defer runtime.KeepAlive(r)
	n := C.CString(name)
	defer C.free(unsafe.Pointer(n))
	var m, s C.double
	err = check(C.causerie_report_metric(r.p, C.size_t(system), n, &m, &s))
	return float64(m), float64(s), err
}

// Save writes report.json and report.html into folder.
func (r *Report) Save(folder string) error {
	if err := noNUL(folder); err != nil {
		return err
	}
	f, free := path(folder)
	defer free()
	defer runtime.KeepAlive(r)
	return check(C.causerie_report_save(r.p, f))
}

// Close ends the report.
func (r *Report) Close() {
	r.lent.Lock()
	defer r.lent.Unlock()
	C.causerie_report_free(r.p)
	runtime.SetFinalizer(r, nil)
}
