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

// Selection holds seed rows, most informative first.
type Selection struct {
	h noun[*C.causerie_selection]
}

func newSelection(l *loan) *Selection {
	s := &Selection{}
	runtime.SetFinalizer(s, (*Selection).Close)
	l.making(s.Close)
	return s
}

// lend is the handle for C; nil is NULL, where a selection may be absent.
func (s *Selection) lend(l *loan) *C.causerie_selection {
	if s == nil {
		return nil
	}
	return s.need(l)
}

// need is the handle for C.
func (s *Selection) need(l *loan) *C.causerie_selection {
	if s == nil || s.h.p == nil {
		l.missing("selection", s == nil)
		return nil
	}
	l.live = append(l.live, s)
	return s.h.p
}

// Select selects select.budget rows by select.strategy. d may be nil for "random", "js" and "fisher"; earlier is a selection to
// continue to the larger budget, or nil.
func Select(ctx context.Context, d *Dataset, e *Embeddings, earlier *Selection, c *Config) (*Selection, error) {
	return SelectKeeping(ctx, d, e, earlier, "", c)
}

// SelectKeeping is Select with its picks so far in the file checkpoint ("": none): stopped, the same call goes on from there.
func SelectKeeping(ctx context.Context, d *Dataset, e *Embeddings, earlier *Selection, checkpoint string, c *Config) (*Selection, error) {
	var l loan
	defer l.end()
	dataset, embeddings, before := d.lend(&l), e.need(&l), earlier.lend(&l)
	k, config, s := l.name("checkpoint", checkpoint), c.lend(&l), newSelection(&l)
	err := l.under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_select_keeping(dataset, embeddings, before, k, config, run, &s.h.p)
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// FitCenters writes the centres of K-means over all rows to file, for select.centers: the JS strategies then select on them,
// here or on other machines. d may be nil for "js".
func FitCenters(ctx context.Context, d *Dataset, e *Embeddings, c *Config, file string) error {
	var l loan
	defer l.end()
	dataset, embeddings, config, f := d.lend(&l), e.need(&l), c.lend(&l), l.name("file", file)
	return l.under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_select_centers(dataset, embeddings, config, run, f)
	})
}

// SelectPart is the first step of a selection that several machines share: part number of parts, from 0, writes its picks to
// file. MergeParts lays the files of all parts together, FinaliseParts selects from them.
func SelectPart(ctx context.Context, d *Dataset, e *Embeddings, number, parts int, c *Config, file string) error {
	var l loan
	defer l.end()
	dataset, embeddings, config, f := d.lend(&l), e.need(&l), c.lend(&l), l.name("file", file)
	i, n := l.count("the number of a part", number), l.count("the number of parts", parts)
	return l.under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_select_part(dataset, embeddings, C.uint64_t(i), C.uint64_t(n), config, run, f)
	})
}

// MergeParts is the second step: the files of all parts, into merged.
func MergeParts(files []string, merged string) error {
	var l loan
	defer l.end()
	if files == nil {
		l.fail(invalid("the files of the parts are nil"))
	}
	m, names := l.name("file", merged), (**C.char)(l.list(len(files)))
	for i, file := range files {
		unsafe.Slice(names, len(files))[i] = l.name("file", file)
	}
	return l.call(func() *C.causerie_error { return C.causerie_select_merge(names, C.size_t(len(files)), m) })
}

// FinaliseParts is the third step: the selection of what MergeParts wrote.
func FinaliseParts(ctx context.Context, d *Dataset, e *Embeddings, merged string, c *Config) (*Selection, error) {
	var l loan
	defer l.end()
	dataset, embeddings, m := d.lend(&l), e.need(&l), l.name("file", merged)
	config, s := c.lend(&l), newSelection(&l)
	err := l.under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_select_finalise(dataset, embeddings, m, config, run, &s.h.p)
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// LoadSelection reads what Save wrote.
func LoadSelection(file string) (*Selection, error) {
	var l loan
	defer l.end()
	f, s := l.name("file", file), newSelection(&l)
	if err := l.call(func() *C.causerie_error { return C.causerie_selection_load(f, &s.h.p) }); err != nil {
		return nil, err
	}
	return s, nil
}

// Rows copies the selected rows, most informative first.
func (s *Selection) Rows() []uint64 {
	if s == nil {
		return nil
	}
	s.h.lent.RLock()
	defer s.h.lent.RUnlock()
	var n C.size_t
	data := C.causerie_selection_rows(s.h.p, &n)
	if data == nil || n == 0 {
		return nil
	}
	return append([]uint64(nil), unsafe.Slice((*uint64)(unsafe.Pointer(data)), int(n))...)
}

// Gains copies what each pick added, in nats; 0 for "random".
func (s *Selection) Gains() []float64 {
	if s == nil {
		return nil
	}
	s.h.lent.RLock()
	defer s.h.lent.RUnlock()
	var n C.size_t
	data := C.causerie_selection_gains(s.h.p, &n)
	if data == nil || n == 0 {
		return nil
	}
	return append([]float64(nil), unsafe.Slice((*float64)(unsafe.Pointer(data)), int(n))...)
}

// Report has objective, certificate, settings and cost, as JSON; "{}" for a selection that was loaded.
func (s *Selection) Report() (string, error) {
	var l loan
	defer l.end()
	p := s.need(&l)
	if l.err != nil {
		return "", l.err
	}
	return s.h.text("selection", func() (*C.char, *C.causerie_error) { return C.causerie_selection_report(p), nil })
}

// Save writes selection.jsonl: {"rank", "row", "gain"} a line.
func (s *Selection) Save(file string) error {
	var l loan
	defer l.end()
	p, f := s.need(&l), l.name("file", file)
	return l.call(func() *C.causerie_error { return C.causerie_selection_save(p, f) })
}

// Close ends the selection.
func (s *Selection) Close() {
	if s == nil {
		return
	}
	s.h.lent.Lock()
	defer s.h.lent.Unlock()
	C.causerie_selection_free(s.h.p)
	s.h.shut = true
}
