package causerie

/*
#include <causerie.h>
*/
import "C"

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"
)

// Kinds of a Request.
const (
	AskQuery     = C.CAUSERIE_ASK_QUERY
	AskRecommend = C.CAUSERIE_ASK_RECOMMEND
	// AskDialogue asks for the lines of a planned dialogue, numbered (synthesize.turns above 1).
	AskDialogue = C.CAUSERIE_ASK_DIALOGUE
	AskJudge    = C.CAUSERIE_ASK_JUDGE
)

// Request is what a Teacher is asked.
type Request struct {
	Kind        int
	Prompt, ID  string
	Temperature float64
	MaxTokens   uint64
	Seed        uint64
	// How often it was tried before.
	Attempt uint64
}

// Answer is what a Teacher says, and the tokens it cost (0: not known).
type Answer struct {
	Text                           string
	PromptTokens, CompletionTokens uint64
}

// TeacherError is a failure of one request: the library decides by Why whether it asks again. Any other error of a Teacher
// ends the synthesis.
type TeacherError struct {
	Why     int
	Message string
	// Of Throttled: the next try waits so long; 0, and what is negative: as the library thinks fit.
	RetryAfter time.Duration
}

// Reasons of a TeacherError.
const (
	Refused   = C.CAUSERIE_FAIL_REFUSED
	Broken    = C.CAUSERIE_FAIL_BROKEN
	Throttled = C.CAUSERIE_FAIL_THROTTLED
)

func (e *TeacherError) Error() string {
	if e == nil {
		return "a TeacherError that is nil"
	}
	return e.Message
}

// Teacher answers requests: your LLM client. It is called from up to synthesize.in_flight goroutines at once, and should return
// when ctx ends: the synthesis waits for it.
type Teacher func(ctx context.Context, r Request) (Answer, error)

// asking is a synthesis with a Teacher, and how that failed first.
type asking struct {
	ctx     context.Context
	teacher Teacher
	mutex   sync.Mutex
	err     error
	end     *ending
}

// said is a Teacher's answer, its failure (why is not 0), or an error that ends the synthesis.
type said struct {
	text               string
	prompt, completion uint64
	why                C.int32_t
	waitMS             uint64
	err                error
}

func (a *asking) ask(r Request) said {
	answer, err := a.teacher(a.ctx, r)
	var failure *TeacherError
	if err == nil {
		return said{text: answer.Text, prompt: answer.PromptTokens, completion: answer.CompletionTokens}
	}
	if errors.As(err, &failure) && failure != nil && (failure.Why < Refused || failure.Why > Throttled) {
		err, failure = invalid("a TeacherError says why: Refused, Broken or Throttled, not %d", failure.Why), nil
	}
	if failure == nil {
		return said{err: &Error{Code: TeacherFail, Message: "causerie: the teacher failed: " + err.Error(), cause: err}}
	}
	wait := uint64(0)
	if failure.RetryAfter > 0 {
		// Up, so that less than a millisecond is not 0.
		wait = uint64((failure.RetryAfter-1)/time.Millisecond) + 1
	}
	return said{text: failure.Message, why: C.int32_t(failure.Why), waitMS: wait}
}

func (a *asking) failed(err error) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.err == nil && a.end == nil {
		a.err = err
	}
}

func (a *asking) ended(end *ending) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.err == nil && a.end == nil {
		a.end = end
	}
}

// over says whether the synthesis is at its end: nobody is asked any more.
func (a *asking) over() bool {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return a.err != nil || a.end != nil
}

// Dialogues are training pairs: a query, and its ranked items.
type Dialogues struct {
	h noun[*C.causerie_dialogues]
}

func newDialogues(l *loan) *Dialogues {
	t := &Dialogues{}
	runtime.SetFinalizer(t, (*Dialogues).Close)
	l.making(t.Close)
	return t
}

// lend is the handle for C; nil is NULL, where dialogues may be absent.
func (t *Dialogues) lend(l *loan) *C.causerie_dialogues {
	if t == nil {
		return nil
	}
	return t.need(l)
}

// need is the handle for C.
func (t *Dialogues) need(l *loan) *C.causerie_dialogues {
	if t == nil || t.h.p == nil {
		l.missing("dialogues", t == nil)
		return nil
	}
	l.live = append(l.live, t)
	return t.h.p
}

// Synthesize makes dialogues with the teacher of the settings; journal keeps requests and answers, so that a second call asks only
// what is not in it; "" keeps nothing.
func Synthesize(ctx context.Context, d *Dataset, s *Selection, c *Config, round uint64, journal string) (*Dialogues, error) {
	var l loan
	defer l.end()
	dataset, selection, config := d.need(&l), s.need(&l), c.lend(&l)
	j, t := l.name("journal", journal), newDialogues(&l)
	err := l.under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_synthesize(dataset, selection, config, C.uint64_t(round), j, run, &t.h.p)
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// SynthesizeWith makes dialogues with a teacher of your own, called name. An error that ends it is found by errors.Is in what
// comes back, which has code TeacherFail.
func SynthesizeWith(ctx context.Context, d *Dataset, s *Selection, name string, teacher Teacher, c *Config, round uint64, journal string) (*Dialogues, error) {
	var l loan
	defer l.end()
	dataset, selection, config := d.need(&l), s.need(&l), c.lend(&l)
	n, j, t := l.name("teacher's name", name), l.name("journal", journal), newDialogues(&l)
	if teacher == nil {
		l.fail(invalid("the teacher is nil"))
	}
	a := &asking{ctx: ctx, teacher: teacher}
	data, forget := keep(a)
	defer forget()
	err := l.under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_synthesize_with(dataset, selection, n, teacherFn(), data, config, C.uint64_t(round), j, run, &t.h.p)
	})
	if err == nil {
		return t, nil
	}
	a.mutex.Lock()
	end, failed := a.end, a.err
	a.mutex.Unlock()
	switch {
	case end != nil:
		return nil, end.out("a teacher")
	case failed != nil && ctx.Err() != nil && errors.Is(failed, ctx.Err()):
		return nil, ended(ctx, "the teacher was asked")
	case failed != nil:
		return nil, failed
	}
	return nil, err
}

// ExportRequests writes the requests of Synthesize that can be made now and are not answered in journal to file, for a batch
// endpoint, and returns how many those are, and how many are answered already.
func ExportRequests(ctx context.Context, d *Dataset, s *Selection, c *Config, journal, file string) (requests, answered uint64, err error) {
	var l loan
	defer l.end()
	dataset, selection, config := d.need(&l), s.need(&l), c.lend(&l)
	j, f := l.name("journal", journal), l.name("file", file)
	var n, known C.uint64_t
	err = l.under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_synthesize_export(dataset, selection, config, j, f, run, &n, &known)
	})
	return uint64(n), uint64(known), err
}

// ImportAnswers takes a batch endpoint's answers into journal, and returns how many were taken, and how many requests are still
// without one.
func ImportAnswers(ctx context.Context, journal, answers string) (taken, missing uint64, err error) {
	var l loan
	defer l.end()
	j, a := l.name("journal", journal), l.name("file of answers", answers)
	var n, left C.uint64_t
	err = l.under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_synthesize_import(j, a, run, &n, &left)
	})
	return uint64(n), uint64(left), err
}

// LoadDialogues reads what Save wrote, and counts the lines that are no dialogues; Format where none is one.
func LoadDialogues(file string) (t *Dialogues, dropped int, err error) {
	var l loan
	defer l.end()
	f, t := l.name("file", file), newDialogues(&l)
	var n C.size_t
	if err := l.call(func() *C.causerie_error { return C.causerie_dialogues_load(f, &t.h.p, &n) }); err != nil {
		return nil, 0, err
	}
	return t, int(n), nil
}

// ParseDialogues does the same with JSON lines in memory.
func ParseDialogues(lines []byte) (t *Dialogues, dropped int, err error) {
	var l loan
	defer l.end()
	text, size := l.lines("lines", lines)
	t = newDialogues(&l)
	var n C.size_t
	if err := l.call(func() *C.causerie_error { return C.causerie_dialogues_parse(text, size, &t.h.p, &n) }); err != nil {
		return nil, 0, err
	}
	return t, int(n), nil
}

// Len is the number of dialogues; 0 beside an Add.
func (t *Dialogues) Len() int {
	if t == nil {
		return 0
	}
	defer runtime.KeepAlive(t)
	return int(C.causerie_dialogues_count(t.h.p))
}

// JSON is dialogue i: {"id", "messages": [{"role", "content"}], "items": [id, …], "seed", "teacher", "round"}; "" past the end,
// and beside an Add.
func (t *Dialogues) JSON(i int) string {
	if t == nil || i < 0 {
		return ""
	}
	t.h.lent.RLock()
	defer t.h.lent.RUnlock()
	return C.GoString(C.causerie_dialogues_get(t.h.p, C.size_t(i)))
}

// Report has requests, tokens, cost, what was dropped and why, as JSON; of dialogues that were loaded "{}" or {"bad_lines": n}.
func (t *Dialogues) Report() (string, error) {
	var l loan
	defer l.end()
	p := t.need(&l)
	if l.err != nil {
		return "", l.err
	}
	return t.h.text("dialogues", func() (*C.char, *C.causerie_error) { return C.causerie_dialogues_report(p), nil })
}

// Add appends the dialogues of a later round. Alone.
func (t *Dialogues) Add(more *Dialogues) error {
	var l loan
	defer l.end()
	p, m := t.need(&l), more.need(&l)
	return l.call(func() *C.causerie_error { return C.causerie_dialogues_add(p, m) })
}

// Save writes JSON lines in chat format, all or nothing.
func (t *Dialogues) Save(file string) error {
	var l loan
	defer l.end()
	p, f := t.need(&l), l.name("file", file)
	return l.call(func() *C.causerie_error { return C.causerie_dialogues_save(p, f) })
}

// Close ends the dialogues.
func (t *Dialogues) Close() {
	if t == nil {
		return
	}
	t.h.lent.Lock()
	defer t.h.lent.Unlock()
	C.causerie_dialogues_free(t.h.p)
	t.h.shut = true
}
