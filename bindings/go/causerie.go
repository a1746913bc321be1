// Package causerie gives a service its own conversational recommender, made from reviews: load, embed, select, synthesize,
// tune, recommend, evaluate. It binds the C library by pkg-config; install that first (make install). docs/go.md is a tour.
//
// # Contexts
//
// Calls that can be long take a context. When it ends, the call ends within a step with an error that is what the context says:
// errors.Is(err, context.Canceled) or context.DeadlineExceeded, and context.Cause where the context has one. A nil context is
// an error. [WithProgress], [WithTokens] and [WithThreads] add to a context. Calls without one read or write a file, or memory
// that they are given, from its beginning to its end.
//
// # Errors
//
// An [Error] has a code: errors.Is(err, &Error{Code: NotFound}). Numbers, texts and lists that C would misread are errors with
// code [Invalid] before C sees them: negative counts, numbers beyond C's, a NUL in a path, nil handles and nil slices (where
// nil is allowed, the function says so). A handle after Close, or one that no function of this package made, gives errors that
// are [ErrClosed]. Methods without an error give 0, "" or nil then.
//
// # Goroutines
//
// No handle belongs to a goroutine. Methods fall into three kinds; where nothing is said, a method is of the first:
//
//   - Shared: any number at once, on any goroutines.
//   - Alone: [Config.Set], [Config.Read]; [Dataset.Add], [Dataset.AddFile], [Dataset.AddArrow], [Dataset.AddArrowStream];
//     [Dialogues.Add]; the methods of a [KeptQuery] that change it. Beside another call on the same handle one of the two gets
//     an error with code [Busy], and nothing was done. Methods without an error give 0, "" or nil beside them.
//   - Close: any goroutine, any number of times. Calls under way go on to their end, later ones give ErrClosed. What is not
//     closed is closed by the garbage collector, some day.
//
// Handles may be closed in any order: none keeps another.
//
// # Callbacks
//
// Functions that are handed in (progress, tokens, log, teachers) run on goroutines of their own; the call waits for them. They may
// call this package, on the same handles too, Close among them. One that panics ends the call, which panics with the same value.
// One that ends its goroutine (runtime.Goexit, t.FailNow) ends the call with an error that is [ErrGoexit].
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

// Error is what a call failed with: a code, and a message that says where, what, and what to do.
type Error struct {
	Code    int
	Message string
	// What errors.Is finds: ctx.Err() of a context that ended.
	is error
	// What it comes from: context.Cause, or the error of a Teacher.
	cause error
}

func (e *Error) Error() string { return e.Message }

// Is finds an Error of the same code, ErrClosed, and of a call whose context ended what that context says.
func (e *Error) Is(target error) bool {
	if target == nil {
		return false
	}
	if target == ErrClosed {
		return e.Code == Closed
	}
	if target == e.is {
		return true
	}
	other, ok := target.(*Error)
	return ok && other != nil && other.Code == e.Code
}

// Unwrap is the cause of a context that ended, or the error of a Teacher; else nil.
func (e *Error) Unwrap() error { return e.cause }

var (
	// ErrClosed is what errors.Is finds in the errors of a handle after Close.
	ErrClosed = errors.New("causerie: the handle was closed")
	// ErrGoexit is what errors.Is finds where a callback ended its goroutine.
	ErrGoexit = errors.New("causerie: a callback ended its goroutine")
)

func check(e *C.causerie_error) error {
	if e == nil {
		return nil
	}
	err := &Error{Code: int(C.causerie_error_code(e)), Message: C.GoString(C.causerie_error_message(e))}
	C.causerie_error_free(e)
	return err
}

// ended is the error of a call whose context ended.
func ended(ctx context.Context, message string) error {
	return &Error{Code: Cancelled, Message: ctx.Err().Error() + ": " + message, is: ctx.Err(), cause: causeOf(ctx)}
}

func init() {
	version := C.CString(C.CAUSERIE_VERSION)
	defer C.free(unsafe.Pointer(version))
	if err := check(C.causerie_check_version(version, C.CAUSERIE_ABI)); err != nil {
		panic(err)
	}
}

// Version is that of the library which is linked: "causerie/0.1.0 …". One that this package was not compiled for panics at start.
func Version() string { return C.GoString(C.causerie_version()) }

// ABI is the number of the binary interface of the library which is linked.
func ABI() int { return int(C.causerie_abi()) }

// Handles counts what this process has made in the library and not closed: 0 once everything is. For tests that look for leaks.
func Handles() int { return int(C.causerie_handles()) }
