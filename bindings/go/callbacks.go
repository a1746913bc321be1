package causerie

/*
#include <causerie.h>
extern int32_t causerieGoProgress(causerie_progress *, void *);
extern int32_t causerieGoToken(char *, size_t, void *);
extern int32_t causerieGoTeacher(causerie_request *, causerie_answer *, void *);
extern void causerieGoLog(int32_t, char *, size_t, void *);
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"runtime/cgo"
	"sync"
	"time"
	"unsafe"
)

// hearing is what a call tells while it is under way, and what its callbacks panicked with.
type hearing struct {
	progress func(Progress)
	tokens   func(string)
	panicked any
}

// caught keeps a panic, which must not unwind through C, and stops the call.
func (h *hearing) caught(code *C.int32_t) {
	if v := recover(); v != nil {
		h.panicked, *code = v, 1
	}
}

// hear has a run call back.
func hear(run *C.causerie_run, h *hearing) (forget func(), err error) {
	data, forget := keep(h)
	if h.progress != nil {
		err = check(C.causerie_run_on_progress(run, C.causerie_progress_fn(C.causerieGoProgress), data))
	}
	if h.tokens != nil && err == nil {
		err = check(C.causerie_run_on_token(run, C.causerie_token_fn(C.causerieGoToken), data))
	}
	return forget, err
}

//export causerieGoProgress
func causerieGoProgress(p *C.causerie_progress, data unsafe.Pointer) (code C.int32_t) {
	h := (*(*cgo.Handle)(data)).Value().(*hearing)
	defer h.caught(&code)
	h.progress(Progress{
		Stage: C.GoString(p.stage), Unit: C.GoString(p.unit), Note: C.GoString(p.note),
		Done: uint64(p.done), Total: uint64(p.total),
		Seconds: float64(p.seconds), SecondsLeft: float64(p.seconds_left),
	})
	return 0
}

//export causerieGoToken
func causerieGoToken(text *C.char, n C.size_t, data unsafe.Pointer) (code C.int32_t) {
	h := (*(*cgo.Handle)(data)).Value().(*hearing)
	defer h.caught(&code)
	h.tokens(C.GoStringN(text, C.int(n)))
	return 0
}

// Kinds of a Request.
const (
	AskQuery     = C.CAUSERIE_ASK_QUERY
	AskRecommend = C.CAUSERIE_ASK_RECOMMEND
)

// Request is what a Teacher is asked.
type Request struct {
	Kind        int
	Prompt, ID  string
	Temperature float64
	MaxTokens   uint64
	Seed        uint64
	Attempt     uint64
}

// Answer is what a Teacher says, and the tokens it cost (0: not known).
type Answer struct {
	Text                           string
	PromptTokens, CompletionTokens uint64
}

// TeacherError is a failure of one request: the library decides by Why whether it asks again. Any other error of a Teacher
// ends the synthesis.
type TeacherError struct {
	Why        int
	Message    string
	RetryAfter time.Duration
}

// Reasons of a TeacherError.
const (
	Refused   = C.CAUSERIE_FAIL_REFUSED
	Broken    = C.CAUSERIE_FAIL_BROKEN
	Throttled = C.CAUSERIE_FAIL_THROTTLED
)

func (e *TeacherError) Error() string { return e.Message }

// Teacher answers requests: your LLM client. It is called from up to synthesize.in_flight goroutines at once.
type Teacher func(ctx context.Context, r Request) (Answer, error)

type asking struct {
	ctx     context.Context
	teacher Teacher
	mutex   sync.Mutex
	err     error
}

func (a *asking) failed(err error) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.err == nil {
		a.err = err
	}
}

//export causerieGoTeacher
func causerieGoTeacher(r *C.causerie_request, slot *C.causerie_answer, data unsafe.Pointer) (code C.int32_t) {
	a := (*(*cgo.Handle)(data)).Value().(*asking)
	// A panic must not unwind through C: it ends the synthesis as an error.
	defer func() {
		if v := recover(); v != nil {
			a.failed(fmt.Errorf("causerie: the teacher panicked: %v", v))
			code = 1
		}
	}()
	answer, err := a.teacher(a.ctx, Request{
		Kind: int(r.kind), Prompt: C.GoStringN(r.prompt, C.int(r.prompt_len)), ID: C.GoString(r.id),
		Temperature: float64(r.temperature), MaxTokens: uint64(r.max_tokens), Seed: uint64(r.seed), Attempt: uint64(r.attempt),
	})
	var failure *TeacherError
	switch {
	case err == nil:
		p, n := bytesOf([]byte(answer.Text))
		err = check(C.causerie_answer_set(slot, p, n, C.uint64_t(answer.PromptTokens), C.uint64_t(answer.CompletionTokens)))
	case errors.As(err, &failure):
		p, n := bytesOf([]byte(failure.Message))
		err = check(C.causerie_answer_fail(slot, C.int32_t(failure.Why), C.uint64_t(failure.RetryAfter.Milliseconds()), p, n))
	}
	if err != nil {
		a.failed(err)
		return 1
	}
	return 0
}

var (
	logMutex sync.Mutex
	logFunc  func(level int, text string)
)

// SetLog sends the library's log to f, lines up to level (1 error … 4 debug); nil silences it. Any goroutine.
func SetLog(level int, f func(level int, text string)) {
	logMutex.Lock()
	logFunc = f
	logMutex.Unlock()
	if f == nil {
		C.causerie_log(nil, nil, 0)
		return
	}
	C.causerie_log(C.causerie_log_fn(C.causerieGoLog), nil, C.int32_t(level))
}

//export causerieGoLog
func causerieGoLog(level C.int32_t, text *C.char, n C.size_t, _ unsafe.Pointer) {
	logMutex.Lock()
	f := logFunc
	logMutex.Unlock()
	if f != nil {
		f(int(level), C.GoStringN(text, C.int(n)))
	}
}

func teacherFn() C.causerie_teacher_fn { return C.causerie_teacher_fn(C.causerieGoTeacher) }
