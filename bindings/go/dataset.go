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

// Table is a table of a Dataset.
type Table int

// The tables.
const (
	Items        Table = C.CAUSERIE_ITEMS
	Reviews      Table = C.CAUSERIE_REVIEWS
	Interactions Table = C.CAUSERIE_INTERACTIONS
)

func (t Table) lend(l *loan) C.int32_t {
	if t < Items || t > Interactions {
		l.fail(invalid("there is no table %d; Items, Reviews or Interactions", int(t)))
	}
	return C.int32_t(t)
}

// Simulate writes a simulated domain into folder: items.jsonl, reviews.jsonl, interactions.csv, conversations.jsonl.
func Simulate(ctx context.Context, c *Config, folder string) error {
	var l loan
	defer l.end()
	config, f := c.lend(&l), l.name("folder", folder)
	return l.under(ctx, func(run *C.causerie_run) *C.causerie_error { return C.causerie_simulate(config, f, run) })
}

// Dataset holds items, reviews and interactions.
type Dataset struct {
	h noun[*C.causerie_dataset]
}

func newDataset(l *loan) *Dataset {
	d := &Dataset{}
	runtime.SetFinalizer(d, (*Dataset).Close)
	l.making(d.Close)
	return d
}

// lend is the handle for C; nil is NULL, where a dataset may be absent.
func (d *Dataset) lend(l *loan) *C.causerie_dataset {
	if d == nil {
		return nil
	}
	return d.need(l)
}

// need is the handle for C.
func (d *Dataset) need(l *loan) *C.causerie_dataset {
	if d == nil || d.h.p == nil {
		l.missing("dataset", d == nil)
		return nil
	}
	l.live = append(l.live, d)
	return d.h.p
}

// NewDataset is empty; add the items first.
func NewDataset(c *Config) (*Dataset, error) {
	var l loan
	defer l.end()
	config, d := c.lend(&l), newDataset(&l)
	if err := l.call(func() *C.causerie_error { return C.causerie_dataset_new(config, &d.h.p) }); err != nil {
		return nil, err
	}
	return d, nil
}

// ImportDataset reads the files that the settings name, and counts the rows that were left out; Report says why.
func ImportDataset(ctx context.Context, c *Config) (d *Dataset, dropped int, err error) {
	var l loan
	defer l.end()
	config, d := c.lend(&l), newDataset(&l)
	var n C.size_t
	err = l.under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_dataset_import(config, run, &d.h.p, &n)
	})
	if err != nil {
		return nil, 0, err
	}
	return d, int(n), nil
}

// LoadDataset reads what Save (or `causerie import --out`) wrote.
func LoadDataset(folder string, c *Config) (*Dataset, error) {
	var l loan
	defer l.end()
	f, config, d := l.name("folder", folder), c.lend(&l), newDataset(&l)
	if err := l.call(func() *C.causerie_error { return C.causerie_dataset_load(f, config, &d.h.p) }); err != nil {
		return nil, err
	}
	return d, nil
}

// Add adds JSON lines (or CSV, for interactions): all of them or, where it fails, nothing. It counts the rows that were passed
// over; Report says why. Format where nothing is left, or more lines are bad than dataset.max_bad_lines. Alone.
func (d *Dataset) Add(t Table, lines []byte) (dropped int, err error) {
	var l loan
	defer l.end()
	p, table := d.need(&l), t.lend(&l)
	text, n := l.lines("lines", lines)
	var left C.size_t
	err = l.call(func() *C.causerie_error { return C.causerie_dataset_add(p, table, text, n, &left) })
	return int(left), err
}

// AddFile adds a file: plain, .gz or .zst. As Add. Alone.
func (d *Dataset) AddFile(ctx context.Context, t Table, file string) (dropped int, err error) {
	var l loan
	defer l.end()
	p, table, f := d.need(&l), t.lend(&l), l.name("file", file)
	var left C.size_t
	err = l.under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_dataset_add_file(p, table, f, run, &left)
	})
	return int(left), err
}

// AddArrow adds a record batch by the Arrow C Data Interface: pointers to a struct ArrowSchema and a struct ArrowArray, in memory
// of C (of arrow-go: unsafe.Pointer of a *cdata.CArrowSchema). Both are taken: released when it returns, whatever it
// returns, unless an argument is refused before. As Add. Alone.
func (d *Dataset) AddArrow(t Table, schema, array unsafe.Pointer) (dropped int, err error) {
	var l loan
	defer l.end()
	p, table := d.need(&l), t.lend(&l)
	var left C.size_t
	err = l.call(func() *C.causerie_error {
		return C.causerie_dataset_add_arrow(p, table, (*C.struct_ArrowSchema)(schema), (*C.struct_ArrowArray)(array), &left)
	})
	return int(left), err
}

// AddArrowStream adds all batches of a struct ArrowArrayStream, which is taken as by AddArrow. As Add. Alone.
func (d *Dataset) AddArrowStream(ctx context.Context, t Table, stream unsafe.Pointer) (dropped int, err error) {
	var l loan
	defer l.end()
	p, table := d.need(&l), t.lend(&l)
	var left C.size_t
	err = l.under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_dataset_add_arrow_stream(p, table, (*C.struct_ArrowArrayStream)(stream), run, &left)
	})
	return int(left), err
}

// Count is the number of rows of a table; 0 of one that does not exist, and beside an Add.
func (d *Dataset) Count(t Table) int {
	if d == nil || t < Items || t > Interactions {
		return 0
	}
	defer runtime.KeepAlive(d)
	return int(C.causerie_dataset_count(d.h.p, C.int32_t(t)))
}

// Title is "Title (1999)" of item i, its id where it has no title; "" past the end, and beside an Add.
func (d *Dataset) Title(i int) string {
	if d == nil || i < 0 {
		return ""
	}
	d.h.lent.RLock()
	defer d.h.lent.RUnlock()
	return C.GoString(C.causerie_dataset_title(d.h.p, C.size_t(i)))
}

// Report says what was kept and what was left out, as JSON.
func (d *Dataset) Report() (string, error) {
	var l loan
	defer l.end()
	p := d.need(&l)
	if l.err != nil {
		return "", l.err
	}
	return d.h.text("dataset", func() (out *C.char, failure *C.causerie_error) {
		failure = C.causerie_dataset_report(p, &out)
		return out, failure
	})
}

// Save writes the dataset into folder, all or nothing.
func (d *Dataset) Save(folder string) error {
	var l loan
	defer l.end()
	p, f := d.need(&l), l.name("folder", folder)
	return l.call(func() *C.causerie_error { return C.causerie_dataset_save(p, f) })
}

// Close ends the dataset; what was made of it goes on working.
func (d *Dataset) Close() {
	if d == nil {
		return
	}
	d.h.lent.Lock()
	defer d.h.lent.Unlock()
	C.causerie_dataset_free(d.h.p)
	d.h.shut = true
}
