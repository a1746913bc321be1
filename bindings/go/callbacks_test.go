package causerie

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// panics gives what f panics with; ok where it does.
func panics(f func()) (value any, ok bool) {
	ok = true
	defer func() { value = recover() }()
	f()
	ok = false
	return
}

// unmoved fails where handles were left behind.
func unmoved(t *testing.T, what string, f func()) {
	t.Helper()
	for i := 0; i < 3; i++ {
		runtime.GC()
		time.Sleep(5 * time.Millisecond)
	}
	before := Handles()
	f()
	if now := Handles(); now > before {
		t.Errorf("%s: %d handles, %d before", what, now, before)
	}
}

func TestAPanicOfACallbackComesOutOfTheCallAndHandlesGoOn(t *testing.T) {
	c, d, e := loaded(t)
	ctx := context.Background()
	unmoved(t, "panic", func() {
		// At the first report, and at the last: what was made by then is ended.
		for _, at := range []float64{0, 1} {
			value, ok := panics(func() {
				_, _ = Embed(WithProgress(ctx, func(p Progress) {
					if p.Total > 0 && float64(p.Done) >= at*float64(p.Total) {
						panic("oops")
					}
				}), d, c, "")
			})
			if !ok || value != "oops" {
				t.Errorf("%v %v", value, ok)
			}
		}
		ours := errors.New("ours")
		s := selected(t, c, e)
		defer s.Close()
		value, ok := panics(func() {
			_, _ = SynthesizeWith(ctx, d, s, "test", func(context.Context, Request) (Answer, error) { panic(ours) }, c, 1, "")
		})
		if !ok || value != ours {
			t.Errorf("%v %v", value, ok)
		}
		again, err := Embed(ctx, d, c, "")
		if err != nil {
			t.Fatal(err)
		}
		again.Close()
	})
}

// "runtime.Goexit in a callback" left the thread of C in the middle of its call, with what it held.
func TestACallbackThatEndsByGoexitLeftTheCallHanging(t *testing.T) {
	c, d, e := loaded(t)
	ctx := context.Background()
	s := selected(t, c, e)
	defer s.Close()
	goroutines := runtime.NumGoroutine()
	unmoved(t, "Goexit", func() {
		calls := 0
		made, err := Embed(WithProgress(ctx, func(Progress) { calls++; runtime.Goexit() }), d, c, "")
		if made != nil || !errors.Is(err, ErrGoexit) || errors.Is(err, context.Canceled) || calls != 1 {
			t.Fatalf("%v %v, %d calls", made, err, calls)
		}
		// At the last report the call is done: what it made is ended.
		made, err = Embed(WithProgress(ctx, func(p Progress) {
			if p.Total > 0 && p.Done == p.Total {
				runtime.Goexit()
			}
		}), d, c, "")
		if made != nil || !errors.Is(err, ErrGoexit) {
			t.Fatalf("%v %v", made, err)
		}
		// t.FailNow ends its goroutine, too; here of a test that is none.
		_, err = Embed(WithProgress(ctx, func(Progress) { new(testing.T).FailNow() }), d, c, "")
		if !errors.Is(err, ErrGoexit) {
			t.Fatalf("%v", err)
		}
		dialogues, err := SynthesizeWith(ctx, d, s, "test", func(context.Context, Request) (Answer, error) {
			runtime.Goexit()
			return Answer{}, nil
		}, c, 1, "")
		if dialogues != nil || !errors.Is(err, ErrGoexit) {
			t.Fatalf("%v %v", dialogues, err)
		}
		again, err := Embed(ctx, d, c, "")
		if err != nil {
			t.Fatal(err)
		}
		again.Close()
	})
	for i := 0; runtime.NumGoroutine() > goroutines; i++ {
		if i > 200 {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), goroutines)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestACallbackMayCallTheLibraryAndCloseTheVeryHandle(t *testing.T) {
	c, d, e := loaded(t)
	ctx := context.Background()
	unmoved(t, "calls from callbacks", func() {
		mine, err := NewConfig(small)
		if err != nil {
			t.Fatal(err)
		}
		items, asked := d.Count(Items), 0
		made, err := Embed(WithProgress(ctx, func(Progress) {
			asked++
			if d.Count(Items) != items || d.Title(0) == "" {
				t.Error("the dataset is not to be read")
			}
			if _, err := d.Add(Items, []byte("{\"item\": \"new\"}")); !errors.Is(err, &Error{Code: Busy}) {
				t.Errorf("%v", err)
			}
			inner, err := Select(ctx, nil, e, nil, c)
			if err != nil {
				t.Error(err)
			}
			inner.Close()
			mine.Close()
		}), d, mine, "")
		if err != nil || asked == 0 {
			t.Fatalf("%v", err)
		}
		made.Close()
		own, err := LoadDataset(saved(t, d), c)
		if err != nil {
			t.Fatal(err)
		}
		made, err = Embed(WithProgress(ctx, func(Progress) { own.Close() }), own, c, "")
		if err != nil || own.Count(Items) != 0 {
			t.Fatalf("%v", err)
		}
		made.Close()
	})
}

func saved(t *testing.T, d *Dataset) string {
	t.Helper()
	folder := t.TempDir()
	if err := d.Save(folder); err != nil {
		t.Fatal(err)
	}
	return folder
}

func TestAContextThatEndsEndsTheCallAsItsErrorAndItsCause(t *testing.T) {
	c, d, e := loaded(t)
	cancelled, cancel := context.WithCancel(context.Background())
	var failure *Error
	if _, err := Embed(WithProgress(cancelled, func(Progress) { cancel() }), d, c, ""); !errors.Is(err, context.Canceled) ||
		errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &failure) || failure.Code != Cancelled {
		t.Fatalf("%v", err)
	}
	if _, err := Embed(cancelled, d, c, ""); !errors.Is(err, context.Canceled) || !errors.As(err, &failure) {
		t.Fatalf("%v", err)
	}
	late, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, err := Embed(WithProgress(late, func(Progress) { <-late.Done() }), d, c, "")
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
	// A teacher that waits for its context.
	late, cancel = context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err = SynthesizeWith(late, d, selected(t, c, e), "x", func(ctx context.Context, _ Request) (Answer, error) {
		<-ctx.Done()
		return Answer{}, ctx.Err()
	}, c, 1, "")
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 20*time.Second {
		t.Fatalf("%v after %v", err, time.Since(began))
	}
	//lint:ignore SA1012 that is what is tried
	if _, err := Embed(nil, d, c, ""); !errors.Is(err, &Error{Code: Invalid}) || !strings.Contains(err.Error(), "context") { //nolint:staticcheck
		t.Fatalf("%v", err)
	}
	for _, none := range []context.Context{
		WithProgress(nil, func(Progress) {}), WithTokens(nil, nil), WithThreads(nil, 1), //nolint:staticcheck
	} {
		if _, err := Embed(none, d, c, ""); !errors.Is(err, &Error{Code: Invalid}) {
			t.Fatalf("%v", err)
		}
	}
	if made, err := Embed(WithThreads(WithProgress(context.Background(), nil), 1), d, c, ""); err != nil {
		t.Fatal(err)
	} else {
		made.Close()
	}
}

func TestATeacherThatFailsEndsAsItsErrorAndNegativeWaitsAreNone(t *testing.T) {
	c, d, e := loaded(t)
	ctx, s := context.Background(), selected(t, c, e)
	if len(s.Rows()) != 20 {
		t.Fatalf("%v", s.Rows())
	}
	own := errors.New("no credit")
	var nothing *TeacherError
	for _, wrong := range []error{own, fmt.Errorf("wrapped: %w", own), nothing, &TeacherError{Why: 7, Message: "?"}} {
		_, err := SynthesizeWith(ctx, d, s, "test", func(context.Context, Request) (Answer, error) { return Answer{}, wrong }, c, 1, "")
		var failure *Error
		if !errors.As(err, &failure) || failure.Code != TeacherFail || errors.Is(wrong, own) && !errors.Is(err, own) {
			t.Fatalf("%v: %v", wrong, err)
		}
	}
	// -1 s was 584 million years.
	var asked int32
	began := time.Now()
	dialogues, err := SynthesizeWith(ctx, d, s, "test", func(_ context.Context, r Request) (Answer, error) {
		if atomic.AddInt32(&asked, 1) == 1 {
			return Answer{}, &TeacherError{Why: Throttled, Message: "slow down", RetryAfter: -time.Second}
		}
		if r.Kind == AskQuery {
			return Answer{Text: "1. I would like something moving for tonight, not too long, please."}, nil
		}
		text := ""
		for i := 0; i < 20; i++ {
			text += fmt.Sprintf("%d. %s\n", i+1, d.Title((int(r.Seed%1000)+i*7)%d.Count(Items)))
		}
		return Answer{Text: text}, nil
	}, c, 1, "")
	if err != nil || dialogues.Len() == 0 || time.Since(began) > time.Minute {
		t.Fatalf("%v after %v", err, time.Since(began))
	}
	said := (&asking{teacher: func(context.Context, Request) (Answer, error) {
		return Answer{}, &TeacherError{Why: Throttled, RetryAfter: time.Microsecond}
	}}).ask(Request{})
	if said.waitMS != 1 {
		t.Fatalf("a microsecond became %d ms", said.waitMS)
	}
}

func TestALogFunctionThatPanicsExitsLogsOrSetsTheLogLosesItsLineAlone(t *testing.T) {
	c, d, _ := loaded(t)
	ctx, r := context.Background(), popular(t, c, d)
	defer func() { _ = SetLog(0, nil) }()
	// An id that is not in the catalogue is logged.
	logs := func() {
		t.Helper()
		if _, err := r.Recommend(ctx, Query{Turns: []Turn{{"user", "funny"}}, Exclude: []string{"gone"}}, 1); err != nil {
			t.Fatal(err)
		}
	}
	set := func(level int, f func(int, string)) {
		t.Helper()
		if err := SetLog(level, f); err != nil {
			t.Fatal(err)
		}
	}
	var mutex sync.Mutex
	var lines []string
	set(LogDebug, func(level int, text string) {
		mutex.Lock()
		defer mutex.Unlock()
		lines = append(lines, text)
	})
	logs()
	mutex.Lock()
	if len(lines) == 0 {
		t.Fatal("nothing was logged")
	}
	mutex.Unlock()
	lost, _ := LogLost()
	set(LogDebug, func(int, string) { panic("no disk") })
	logs()
	now, said := LogLost()
	if now <= lost || said != "no disk" {
		t.Fatalf("%d %d %q", lost, now, said)
	}
	set(LogDebug, func(int, string) { runtime.Goexit() })
	logs()
	if again, _ := LogLost(); again <= now {
		t.Fatalf("%d %d", now, again)
	}
	// Whoever logs by what it does is told no more than so many lines at once.
	set(LogDebug, func(int, string) { logs() })
	logs()
	set(LogDebug, func(int, string) { _ = SetLog(0, nil) })
	logs()
	logs()
	set(LogError, func(_ int, text string) { t.Errorf("no error: %s", text) })
	logs()
}

func TestAPanicAndAGoexitOfATokenFunctionEndTheCall(t *testing.T) {
	ctx, r := context.Background(), model(t, "[recommend]\nmode = \"generate\"\ncontext_tokens = 256\n")
	query := Query{Turns: []Turn{{"user", "once upon a time"}}}
	unmoved(t, "tokens", func() {
		value, ok := panics(func() { _, _ = r.Recommend(WithTokens(ctx, func(string) { panic(7) }), query, 2) })
		if !ok || value != 7 {
			t.Errorf("%v %v", value, ok)
		}
		if items, err := r.Recommend(WithTokens(ctx, func(string) { runtime.Goexit() }), query, 2); !errors.Is(err, ErrGoexit) {
			t.Errorf("%v %v", items, err)
		}
		stopped, cancel := context.WithCancel(ctx)
		heard := 0
		_, err := r.Recommend(WithTokens(stopped, func(string) { heard++; cancel() }), query, 2)
		if !errors.Is(err, context.Canceled) || heard == 0 {
			t.Errorf("%v after %d pieces", err, heard)
		}
		if n, err := r.Generation(); err != nil || n != 1 {
			t.Errorf("%d %v", n, err)
		}
		if _, err := r.RollBack(1); err == nil {
			t.Error("there is nothing to roll back to")
		}
	})
}
