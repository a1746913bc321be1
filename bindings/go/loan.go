package causerie

/*
#include <stdlib.h>
#include <causerie.h>
*/
import "C"

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"unsafe"
)

// noun is what every handle is: P is a number that C checks, a *C.causerie_… that is never followed.
type noun[P comparable] struct {
	// Set once, when it is made; it stays after Close, and calls with it are refused.
	p P
	// Held while memory that the handle lends is read: Close waits.
	lent sync.RWMutex
	shut bool
}

// text copies what read lends. No such text is empty: C says so where another call changes the handle.
func (n *noun[P]) text(name string, read func() (*C.char, *C.causerie_error)) (string, error) {
	var none P
	n.lent.RLock()
	defer n.lent.RUnlock()
	if n.shut || n.p == none {
		return "", closed(name)
	}
	lent, failure := read()
	if err := check(failure); err != nil {
		return "", err
	}
	text := C.GoString(lent)
	if text == "" {
		return "", &Error{Code: Busy, Message: name + ": another call changes it at this moment; call again when that has ended"}
	}
	return text, nil
}

func closed(name string) error {
	return &Error{Code: Closed, Message: name + ": it was closed, or never made by a function of this package"}
}

func invalid(format string, arguments ...any) error {
	return &Error{Code: Invalid, Message: "causerie: " + fmt.Sprintf(format, arguments...)}
}

// loan is what one call lends to C: texts and lists, which are freed behind it, and handles, which live until then. It keeps the
// first thing that is wrong with them; then nothing is called.
type loan struct {
	err   error
	after []func()
	live  []any
	// The call came to its good end.
	good bool
}

// end frees what was lent, also where the call panics.
func (l *loan) end() {
	for i := len(l.after) - 1; i >= 0; i-- {
		l.after[i]()
	}
	runtime.KeepAlive(l.live)
}

// fail keeps the first error; nil is none.
func (l *loan) fail(err error) {
	if l.err == nil {
		l.err = err
	}
}

// making closes a new handle unless the call comes to its good end.
func (l *loan) making(close func()) {
	l.after = append(l.after, func() {
		if !l.good {
			close()
		}
	})
}

// missing says what is wrong with a handle that is nil, or was not made.
func (l *loan) missing(name string, isNil bool) {
	if isNil {
		l.fail(invalid("the %s is nil", name))
	} else {
		l.fail(closed(name))
	}
}

// name is a path, key or name for C, NULL for "". C would read no further than a NUL.
func (l *loan) name(what, s string) *C.char {
	if strings.IndexByte(s, 0) >= 0 {
		l.fail(invalid("the %s %.80q: a NUL stands in it", what, s))
		return nil
	}
	if s == "" {
		return nil
	}
	return l.copied(s)
}

func (l *loan) copied(s string) *C.char {
	c := C.CString(s)
	l.after = append(l.after, func() { C.free(unsafe.Pointer(c)) })
	return c
}

// list is memory of C for so many pointers, all NULL.
func (l *loan) list(count int) unsafe.Pointer {
	p := C.calloc(C.size_t(count+1), C.size_t(unsafe.Sizeof(uintptr(0))))
	l.after = append(l.after, func() { C.free(p) })
	return p
}

// lines are texts that the caller must give.
func (l *loan) lines(what string, s []byte) (*C.char, C.size_t) {
	if s == nil {
		l.fail(invalid("the %s are nil", what))
	}
	return bytesOf(s)
}

// count is a number from 0 on.
func (l *loan) count(what string, n int) C.size_t {
	if n < 0 {
		l.fail(invalid("%s is %d; it must not be negative", what, n))
		return 0
	}
	return C.size_t(n)
}

// small is a number from 0 to 2^31-1.
func (l *loan) small(what string, n int) C.uint32_t {
	if n < 0 || n > math.MaxInt32 {
		l.fail(invalid("%s is %d; it must be from 0 to %d", what, n, math.MaxInt32))
		return 0
	}
	return C.uint32_t(n)
}

// call calls C with what was lent.
func (l *loan) call(call func() *C.causerie_error) error {
	if l.err != nil {
		return l.err
	}
	err := check(call())
	l.good = err == nil
	return err
}

// under calls C with what was lent, and a run that ctx cancels.
func (l *loan) under(ctx context.Context, call func(*C.causerie_run) *C.causerie_error) error {
	if ctx == nil {
		l.fail(invalid("the context is nil; give context.Background() for none"))
	}
	if l.err != nil {
		return l.err
	}
	if ctx.Err() != nil {
		return ended(ctx, "nothing was begun")
	}
	var run *C.causerie_run
	threads, _ := ctx.Value(threadsKey{}).(int)
	if n := l.small("the number of threads", threads); l.err == nil {
		l.err = check(C.causerie_run_new(n, &run))
	}
	if l.err != nil {
		return l.err
	}
	defer C.causerie_run_free(run)
	h := &hearing{}
	h.progress, _ = ctx.Value(progressKey{}).(func(Progress))
	h.tokens, _ = ctx.Value(tokenKey{}).(func(string))
	if h.progress != nil || h.tokens != nil {
		forget, err := hear(run, h)
		defer forget()
		if err != nil {
			return err
		}
	}
	if ctx.Done() != nil {
		over, watched := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(watched)
			select {
			case <-ctx.Done():
				C.causerie_run_cancel(run)
			case <-over:
			}
		}()
		// Before the run is freed.
		defer func() { close(over); <-watched }()
	}
	err := check(call(run))
	if h.end != nil {
		return h.end.out("progress or tokens")
	}
	if e, ok := err.(*Error); ok && e.Code == Cancelled && ctx.Err() != nil {
		return ended(ctx, e.Message)
	}
	l.good = err == nil
	return err
}

// bytesOf lends s to C for one call; an empty one is (NULL, 0).
func bytesOf(s []byte) (*C.char, C.size_t) {
	if len(s) == 0 {
		return nil, 0
	}
	return (*C.char)(unsafe.Pointer(&s[0])), C.size_t(len(s))
}

// rowsOf lends rows to C for one call.
func rowsOf(rows []uint64) (*C.uint64_t, C.size_t) {
	if len(rows) == 0 {
		return nil, 0
	}
	return (*C.uint64_t)(unsafe.Pointer(&rows[0])), C.size_t(len(rows))
}

// textOf copies a text of C.
func textOf(text *C.char, n C.size_t) string {
	if text == nil || n == 0 {
		return ""
	}
	return string(unsafe.Slice((*byte)(unsafe.Pointer(text)), int(n)))
}
