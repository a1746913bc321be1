package causerie

/*
#include <causerie.h>
*/
import "C"

import (
	"context"
	"runtime"
)

// Model is a ranking head, or the files of a tuned language model.
type Model struct {
	h noun[*C.causerie_model]
}

func newModel(l *loan) *Model {
	m := &Model{}
	runtime.SetFinalizer(m, (*Model).Close)
	l.making(m.Close)
	return m
}

// lend is the handle for C; nil is NULL, where a model may be absent.
func (m *Model) lend(l *loan) *C.causerie_model {
	if m == nil {
		return nil
	}
	return m.need(l)
}

// need is the handle for C.
func (m *Model) need(l *loan) *C.causerie_model {
	if m == nil || m.h.p == nil {
		l.missing("model", m == nil)
		return nil
	}
	l.live = append(l.live, m)
	return m.h.p
}

// Tune tunes a ranking head: seconds to minutes, no language model.
func Tune(ctx context.Context, t *Dialogues, d *Dataset, e *Embeddings, c *Config) (*Model, error) {
	var l loan
	defer l.end()
	dialogues, dataset, embeddings, config := t.need(&l), d.need(&l), e.need(&l), c.lend(&l)
	m := newModel(&l)
	err := l.under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_tune(dialogues, dataset, embeddings, config, run, &m.h.p)
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

// TuneLM fine-tunes the GGUF base (tune.method lora or full) into folder. With a dataset (nil: none) a ranking head may be
// trained along (tune.objective).
func TuneLM(ctx context.Context, t *Dialogues, d *Dataset, base, folder string, c *Config) (*Model, error) {
	var l loan
	defer l.end()
	dialogues, dataset, config := t.need(&l), d.lend(&l), c.lend(&l)
	b, f, m := l.name("model", base), l.name("folder", folder), newModel(&l)
	err := l.under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_tune_lm(dialogues, dataset, b, f, config, run, &m.h.p)
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

// NewModel makes a language model from nothing, of about so many parameters, its vocabulary learned from the reviews, as a
// GGUF at file. With a folder ("": none) it is then trained on the reviews by the settings of tune.*.
func NewModel(ctx context.Context, d *Dataset, parameters uint64, file, folder string, c *Config) (*Model, error) {
	var l loan
	defer l.end()
	dataset, config := d.need(&l), c.lend(&l)
	f, into, m := l.name("file", file), l.name("folder", folder), newModel(&l)
	err := l.under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_model_new(dataset, C.uint64_t(parameters), config, f, into, run, &m.h.p)
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

// MergeAdapter puts a LoRA adapter (a GGUF, or a PEFT folder) into its base: one GGUF of kind "f32", "q8_0", …
func MergeAdapter(ctx context.Context, base, adapter, kind, file string) (*Model, error) {
	var l loan
	defer l.end()
	b, a, k := l.name("model", base), l.name("adapter", adapter), l.name("kind", kind)
	f, m := l.name("file", file), newModel(&l)
	err := l.under(ctx, func(run *C.causerie_run) *C.causerie_error { return C.causerie_model_merge(b, a, k, f, run, &m.h.p) })
	if err != nil {
		return nil, err
	}
	return m, nil
}

// LoadModel reads a ranking head.
func LoadModel(file string) (*Model, error) {
	var l loan
	defer l.end()
	f, m := l.name("file", file), newModel(&l)
	if err := l.call(func() *C.causerie_error { return C.causerie_model_load(f, &m.h.p) }); err != nil {
		return nil, err
	}
	return m, nil
}

// Save writes a ranking head; Invalid for a language model, whose files are in their folder already.
func (m *Model) Save(file string) error {
	var l loan
	defer l.end()
	p, f := m.need(&l), l.name("file", file)
	return l.call(func() *C.causerie_error { return C.causerie_model_save(p, f) })
}

// File is adapter.gguf or model.gguf of a language model; "" of a ranking head.
func (m *Model) File() string {
	if m == nil {
		return ""
	}
	m.h.lent.RLock()
	defer m.h.lent.RUnlock()
	return C.GoString(C.causerie_model_file(m.h.p))
}

// Report has losses, steps, what was kept, as JSON; "{}" of a model that was loaded.
func (m *Model) Report() (string, error) {
	var l loan
	defer l.end()
	p := m.need(&l)
	if l.err != nil {
		return "", l.err
	}
	return m.h.text("model", func() (*C.char, *C.causerie_error) { return C.causerie_model_report(p), nil })
}

// Close ends the model; files of a language model stay.
func (m *Model) Close() {
	if m == nil {
		return
	}
	m.h.lent.Lock()
	defer m.h.lent.Unlock()
	C.causerie_model_free(m.h.p)
	m.h.shut = true
}
