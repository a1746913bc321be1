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

// Report is what came of an evaluation, or of the whole loop.
type Report struct {
	h noun[*C.causerie_report]
}

func newReport(l *loan) *Report {
	r := &Report{}
	runtime.SetFinalizer(r, (*Report).Close)
	l.making(r.Close)
	return r
}

// need is the handle for C.
func (r *Report) need(l *loan) *C.causerie_report {
	if r == nil || r.h.p == nil {
		l.missing("report", r == nil)
		return nil
	}
	l.live = append(l.live, r)
	return r.h.p
}

// Evaluate scores recommenders of one catalogue on the same conversations, JSON lines {"turns": [{"role", "text"}], "targets":
// [{"title", "year", "item"}], "seen": […]}; nil: those of the files that evaluate.conversations names.
func Evaluate(ctx context.Context, systems []*Recommender, conversations []byte, c *Config) (*Report, error) {
	var l loan
	defer l.end()
	if len(systems) == 0 {
		l.fail(invalid("there are no recommenders to evaluate"))
	}
	handles := (**C.causerie_recommender)(l.list(len(systems)))
	for i, system := range systems {
		unsafe.Slice(handles, len(systems))[i] = system.need(&l)
	}
	text, n := bytesOf(conversations)
	if conversations != nil && n == 0 {
		l.fail(invalid("there are no conversations to evaluate on; give nil for those of the settings"))
	}
	config, r := c.lend(&l), newReport(&l)
	err := l.under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_evaluate(handles, C.size_t(len(systems)), text, n, config, run, &r.h.p)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Pipeline runs the whole loop into workDir; a second call goes on after what is finished. restart: what was made with other
// settings is made again instead of being refused. OpenRecommender opens the result.
func Pipeline(ctx context.Context, c *Config, workDir string, restart bool) (*Report, error) {
	var l loan
	defer l.end()
	config, w, r := c.lend(&l), l.name("folder", workDir), newReport(&l)
	again := C.int32_t(0)
	if restart {
		again = 1
	}
	err := l.under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_pipeline(config, w, again, run, &r.h.p)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// JSON is the whole report.
func (r *Report) JSON() (string, error) {
	var l loan
	defer l.end()
	p := r.need(&l)
	if l.err != nil {
		return "", l.err
	}
	return r.h.text("report", func() (*C.char, *C.causerie_error) { return C.causerie_report_json(p), nil })
}

// HTML is the report as one page that loads nothing.
func (r *Report) HTML() (string, error) {
	var l loan
	defer l.end()
	p := r.need(&l)
	if l.err != nil {
		return "", l.err
	}
	return r.h.text("report", func() (out *C.char, failure *C.causerie_error) {
		failure = C.causerie_report_html(p, &out)
		return out, failure
	})
}

// Metric is mean and standard error of "recall@K", "ndcg@K" or "mrr@K" (K: 1, 5, 10, 20) of system (from 0), items already
// mentioned removed.
func (r *Report) Metric(system int, name string) (mean, se float64, err error) {
	var l loan
	defer l.end()
	p, i, n := r.need(&l), l.count("the number of a system", system), l.name("metric", name)
	var m, s C.double
	err = l.call(func() *C.causerie_error { return C.causerie_report_metric(p, i, n, &m, &s) })
	return float64(m), float64(s), err
}

// Save writes report.json and report.html into folder.
func (r *Report) Save(folder string) error {
	var l loan
	defer l.end()
	p, f := r.need(&l), l.name("folder", folder)
	return l.call(func() *C.causerie_error { return C.causerie_report_save(p, f) })
}

// Close ends the report.
func (r *Report) Close() {
	if r == nil {
		return
	}
	r.h.lent.Lock()
	defer r.h.lent.Unlock()
	C.causerie_report_free(r.h.p)
	r.h.shut = true
}
