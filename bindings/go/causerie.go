// Package causerie gives a service its own conversational recommender, made from reviews: load, embed, select, synthesize,
// tune, recommend, evaluate. It binds the C library by pkg-config; install that first (make install).
//
// Long calls take a context: when it ends, the call ends within a step. WithProgress adds reports. Handles have Close and, as
// a net, finalizers. Methods that do not change a handle may run in any number of goroutines at once; one that changes it beside
// others is an Error with code Busy. Close may come from any goroutine and more than once: calls under way go on to their end, and
// later ones give an error that is ErrClosed (methods without an error: 0, "" or nil). A nil context is context.Background().
package causerie

/*
#cgo pkg-config: causerie
#include <stdlib.h>
#include <causerie.h>
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/cgo"
	"strings"
	"sync"
	"unsafe"
)

// Codes of an Error; the numbers are frozen.
const (
	Invalid     = C.CAUSERIE_INVALID
	NotFound    = C.CAUSERIE_NOT_FOUND
	IO          = C.CAUSERIE_IO
	Format      = C.CAUSERIE_FORMAT
	TeacherFail = C.CAUSERIE_TEACHER
	Memory      = C.CAUSERIE_MEMORY
	Cancelled   = C.CAUSERIE_CANCELLED
	Unsupported = C.CAUSERIE_UNSUPPORTED
	Busy        = C.CAUSERIE_BUSY
	Closed      = C.CAUSERIE_CLOSED
	Bug         = C.CAUSERIE_BUG
)

// Error is what a call failed with.
type Error struct {
	Code    int
	Message string
}

func (e *Error) Error() string { return e.Message }

// Is makes errors.Is(err, context.Canceled) true for a call that was cancelled.
func (e *Error) Is(target error) bool {
	if target == context.Canceled || target == context.DeadlineExceeded {
		return e.Code == Cancelled
	}
	if target == ErrClosed {
		return e.Code == Closed
	}
	other, ok := target.(*Error)
	return ok && other.Code == e.Code
}

// ErrClosed is what errors.Is finds in the errors of a handle after Close.
var ErrClosed = errors.New("causerie: the handle was closed")

func check(e *C.causerie_error) error {
	if e == nil {
		return nil
	}
	err := &Error{int(C.causerie_error_code(e)), C.GoString(C.causerie_error_message(e))}
	C.causerie_error_free(e)
	return err
}

func init() {
	version := C.CString(C.CAUSERIE_VERSION)
	defer C.free(unsafe.Pointer(version))
	if err := check(C.causerie_check_version(version, C.CAUSERIE_ABI)); err != nil {
		panic(err)
	}
}

// Version is that of the library which is linked.
func Version() string { return C.GoString(C.causerie_version()) }

// bytesOf lends s to C for one call; an empty one is (NULL, 0).
func bytesOf(s []byte) (*C.char, C.size_t) {
	if len(s) == 0 {
		return nil, 0
	}
	return (*C.char)(unsafe.Pointer(&s[0])), C.size_t(len(s))
}

// noNUL refuses texts of which C would read the beginning alone.
func noNUL(texts ...string) error {
	for _, s := range texts {
		if strings.IndexByte(s, 0) >= 0 {
			return &Error{Invalid, fmt.Sprintf("causerie: %q: a NUL stands in it", s)}
		}
	}
	return nil
}

// path is s for C, NULL for "", and what frees it.
func path(s string) (*C.char, func()) {
	if s == "" {
		return nil, func() {}
	}
	c := C.CString(s)
	return c, func() { C.free(unsafe.Pointer(c)) }
}

// Progress says how far a call is. SecondsLeft is NaN where nothing is known.
type Progress struct {
	Stage, Unit, Note    string
	Done, Total          uint64
	Seconds, SecondsLeft float64
}

type (
	progressKey struct{}
	tokenKey    struct{}
)

// WithProgress reports every call under the context to f, on the goroutine that made it. Where f panics, the call ends and
// panics with the same value.
func WithProgress(ctx context.Context, f func(Progress)) context.Context {
	if ctx == nil {
		ctx = context.Background()
	}
	return context.WithValue(ctx, progressKey{}, f)
}

// WithTokens hands the text of language models to f while they write it, on the goroutine that made the call; "" says that an
// answer is at its end. Those that write are the teacher that is a GGUF and a recommender with recommend.mode = "generate".
func WithTokens(ctx context.Context, f func(text string)) context.Context {
	if ctx == nil {
		ctx = context.Background()
	}
	return context.WithValue(ctx, tokenKey{}, f)
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

// under runs a call with a run that ctx cancels.
func under(ctx context.Context, call func(*C.causerie_run) *C.causerie_error) error {
	if ctx == nil {
		ctx = context.Background()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	var run *C.causerie_run
	if err := check(C.causerie_run_new(0, &run)); err != nil {
		return err
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
		ended, watched := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(watched)
			select {
			case <-ctx.Done():
				C.causerie_run_cancel(run)
			case <-ended:
			}
		}()
		// Before the run is freed.
		defer func() { close(ended); <-watched }()
	}
	err := check(call(run))
	if h.panicked != nil {
		panic(h.panicked)
	}
	if e := ctx.Err(); e != nil && errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: %s", e, err.Error())
	}
	return err
}

// Config holds the settings of every stage.
type Config struct {
	// A number that C checks: it stays after Close, and calls with it are refused.
	p *C.causerie_config
	// Held while memory that the handle lends is read: Close waits.
	lent sync.RWMutex
}

// NewConfig gives every setting its documented default, then reads toml over them ("" for none).
func NewConfig(toml string) (*Config, error) {
	c := &Config{}
	if err := check(C.causerie_config_new(&c.p)); err != nil {
		return nil, err
	}
	runtime.SetFinalizer(c, (*Config).Close)
	if err := c.Read(toml); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Set sets a key from text: Set("select.budget", "500").
func (c *Config) Set(key, value string) error {
	if err := noNUL(key, value); err != nil {
		return err
	}
	k, v := C.CString(key), C.CString(value)
	defer C.free(unsafe.Pointer(k))
	defer C.free(unsafe.Pointer(v))
	defer runtime.KeepAlive(c)
	return check(C.causerie_config_set(c.p, k, v))
}

// Read reads TOML over the current values.
func (c *Config) Read(toml string) error {
	defer runtime.KeepAlive(c)
	p, n := bytesOf([]byte(toml))
	return check(C.causerie_config_read(c.p, p, n))
}

// TOML is every setting with its value.
func (c *Config) TOML() (string, error) {
	c.lent.RLock()
	defer c.lent.RUnlock()
	defer runtime.KeepAlive(c)
	var out *C.char
	err := check(C.causerie_config_toml(c.p, &out))
	return C.GoString(out), err
}

// Close ends the settings.
func (c *Config) Close() {
	c.lent.Lock()
	defer c.lent.Unlock()
	C.causerie_config_free(c.p)
	runtime.SetFinalizer(c, nil)
}

func (c *Config) raw() *C.causerie_config {
	if c == nil {
		return nil
	}
	return c.p
}

// Setting is one row of the table of settings.
type Setting struct{ Key, Kind, Initial, Bounds, Doc string }

// Settings lists every setting.
func Settings() []Setting {
	settings := make([]Setting, 0, int(C.causerie_config_count()))
	for i := C.size_t(0); ; i++ {
		s := C.causerie_config_setting(i)
		if s == nil {
			return settings
		}
		settings = append(settings, Setting{
			C.GoString(s.key), C.GoString(s.kind), C.GoString(s.initial), C.GoString(s.bounds), C.GoString(s.doc),
		})
	}
}
