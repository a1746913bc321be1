package causerie

/*
#include <stdlib.h>
#include <causerie.h>
extern int32_t causerieGoProgress(causerie_progress *, void *);
extern int32_t causerieGoToken(char *, size_t, void *);
extern int32_t causerieGoTeacher(causerie_request *, causerie_answer *, void *);
extern void causerieGoLog(int32_t, char *, size_t, void *);
*/
import "C"

import (
	"context"
	"fmt"
	"runtime/cgo"
	"sync"
	"sync/atomic"
	"unsafe"
)

// ending is how a function ended that did not return: it panicked with value, or ended its goroutine.
type ending struct {
	exited bool
	value  any
}

// out brings it out of the call, on the caller's goroutine.
func (e *ending) out(who string) error {
	if !e.exited {
		panic(e.value)
	}
	return &Error{Code: Cancelled, Message: ErrGoexit.Error() + " (" + who + "; runtime.Goexit or t.FailNow)", is: ErrGoexit}
}

// apart runs f on a goroutine of its own and waits for it: a Goexit ends that goroutine, and not the one that has C on its
// stack; a panic does not unwind through C. nil where f returned.
func apart(f func()) *ending {
	done := make(chan *ending, 1)
	go func() {
		returned, end := false, &ending{exited: true}
		defer func() {
			if returned {
				end = nil
			}
			done <- end
		}()
		func() {
			defer func() {
				if !returned {
					end.value = recover()
				}
			}()
			f()
			returned = true
		}()
		// A Goexit does not come here.
		end.exited = false
	}()
	return <-done
}

// Progress says how far a call is. Total is 0 and SecondsLeft is NaN where they are not known.
type Progress struct {
	Stage, Unit, Note    string
	Done, Total          uint64
	Seconds, SecondsLeft float64
}

type (
	progressKey struct{}
	tokenKey    struct{}
	threadsKey  struct{}
)

// WithProgress reports every call under the context to f, which the call waits for; nil: to nobody. To stop a call, cancel its
// context. Of a nil context it is nil, which calls refuse.
func WithProgress(ctx context.Context, f func(Progress)) context.Context {
	return with(ctx, progressKey{}, f)
}

// WithTokens hands the text of language models to f while they write it, and waits for it; "" says that an answer is at its end.
// Those that write are the teacher that is a GGUF and a recommender with recommend.mode = "generate". Of a nil context it is nil.
func WithTokens(ctx context.Context, f func(text string)) context.Context {
	return with(ctx, tokenKey{}, f)
}

// WithThreads has calls under the context use so many threads of the library; 0: as the settings say (run.threads). Calls refuse
// a number that is negative or too many. Of a nil context it is nil.
func WithThreads(ctx context.Context, threads int) context.Context {
	return with(ctx, threadsKey{}, threads)
}

func with(ctx context.Context, key, value any) context.Context {
	if ctx == nil {
		return nil
	}
	return context.WithValue(ctx, key, value)
}

// hearing is what a call tells while it is under way, and how one of its callbacks ended.
type hearing struct {
	progress func(Progress)
	tokens   func(string)
	end      *ending
}

// tell runs a callback, none after one that did not return; 0 goes on.
func (h *hearing) tell(f func()) C.int32_t {
	if h.end == nil {
		h.end = apart(f)
	}
	if h.end != nil {
		return 1
	}
	return 0
}

// keep stores v where C can hold a pointer to it; the function forgets it.
func keep(v any) (unsafe.Pointer, func()) {
	handle := cgo.NewHandle(v)
	p := C.malloc(C.size_t(unsafe.Sizeof(handle)))
	*(*cgo.Handle)(p) = handle
	return p, func() {
		handle.Delete()
		C.free(p)
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
func causerieGoProgress(p *C.causerie_progress, data unsafe.Pointer) C.int32_t {
	h := (*(*cgo.Handle)(data)).Value().(*hearing)
	progress := Progress{
		Stage: C.GoString(p.stage), Unit: C.GoString(p.unit), Note: C.GoString(p.note),
		Done: uint64(p.done), Total: uint64(p.total),
		Seconds: float64(p.seconds), SecondsLeft: float64(p.seconds_left),
	}
	return h.tell(func() { h.progress(progress) })
}

//export causerieGoToken
func causerieGoToken(text *C.char, n C.size_t, data unsafe.Pointer) C.int32_t {
	h := (*(*cgo.Handle)(data)).Value().(*hearing)
	piece := textOf(text, n)
	return h.tell(func() { h.tokens(piece) })
}

//export causerieGoTeacher
func causerieGoTeacher(r *C.causerie_request, slot *C.causerie_answer, data unsafe.Pointer) C.int32_t {
	a := (*(*cgo.Handle)(data)).Value().(*asking)
	if a.over() {
		return 1
	}
	request := Request{
		Kind: int(r.kind), Prompt: textOf(r.prompt, r.prompt_len), ID: C.GoString(r.id),
		Temperature: float64(r.temperature), MaxTokens: uint64(r.max_tokens), Seed: uint64(r.seed), Attempt: uint64(r.attempt),
	}
	var said said
	if end := apart(func() { said = a.ask(request) }); end != nil {
		a.ended(end)
		return 1
	}
	err := said.err
	if err == nil {
		p, n := bytesOf([]byte(said.text))
		if said.why == 0 {
			err = check(C.causerie_answer_set(slot, p, n, C.uint64_t(said.prompt), C.uint64_t(said.completion)))
		} else {
			err = check(C.causerie_answer_fail(slot, said.why, C.uint64_t(said.waitMS), p, n))
		}
	}
	if err != nil {
		a.failed(err)
		return 1
	}
	return 0
}

func teacherFn() C.causerie_teacher_fn { return C.causerie_teacher_fn(C.causerieGoTeacher) }

// Levels of the log.
const (
	LogError = C.CAUSERIE_LOG_ERROR
	LogWarn  = C.CAUSERIE_LOG_WARN
	LogInfo  = C.CAUSERIE_LOG_INFO
	LogDebug = C.CAUSERIE_LOG_DEBUG
)

// Lines that are told at one time; more than that many threads do not log at once, but a function that logs by what it does
// would go on for ever.
const maxTelling = 64

// logging is who gets the log. C's own log is set once: it must not be set anew from within a line.
var logging struct {
	once     sync.Once
	mutex    sync.Mutex
	tell     func(level int, text string)
	level    int32 // atomic
	telling  int32 // atomic
	lost     uint64
	panicked string
}

// SetLog sends the library's log to f, lines up to level (LogError … LogDebug); nil silences it. Any goroutine, f itself too. f is
// called from any goroutine, several at once. A line whose f panics or ends its goroutine is lost, and nothing else: LogLost tells.
func SetLog(level int, f func(level int, text string)) error {
	if level < LogError || level > LogDebug {
		if f != nil {
			return invalid("a log level is from %d to %d, not %d", LogError, LogDebug, level)
		}
		level = 0
	}
	if f == nil {
		level = 0
	}
	logging.mutex.Lock()
	logging.tell = f
	atomic.StoreInt32(&logging.level, int32(level))
	logging.mutex.Unlock()
	if f != nil {
		logging.once.Do(func() { C.causerie_log(C.causerie_log_fn(C.causerieGoLog), nil, LogDebug) })
	}
	return nil
}

// LogLost counts the lines that were lost because the function of SetLog panicked, ended its goroutine, or logged by what it did,
// and says what the last of them panicked with.
func LogLost() (lines uint64, panicked string) {
	logging.mutex.Lock()
	defer logging.mutex.Unlock()
	return logging.lost, logging.panicked
}

//export causerieGoLog
func causerieGoLog(level C.int32_t, text *C.char, n C.size_t, _ unsafe.Pointer) {
	if int32(level) > atomic.LoadInt32(&logging.level) {
		return
	}
	logging.mutex.Lock()
	tell := logging.tell
	logging.mutex.Unlock()
	if tell == nil {
		return
	}
	line := textOf(text, n)
	defer atomic.AddInt32(&logging.telling, -1)
	end := &ending{exited: true}
	if atomic.AddInt32(&logging.telling, 1) <= maxTelling {
		end = apart(func() { tell(int(level), line) })
	}
	if end != nil {
		logging.mutex.Lock()
		defer logging.mutex.Unlock()
		logging.lost++
		if !end.exited {
			logging.panicked = fmt.Sprint(end.value)
		}
	}
}
