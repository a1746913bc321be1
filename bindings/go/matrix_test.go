package causerie

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"causerie/internal/arrow"
)

// Whatever the tests made is closed, by them or by the garbage collector.
func TestMain(m *testing.M) {
	code := m.Run()
	for i := 0; Handles() > 0; i++ {
		if i == 500 {
			fmt.Fprintf(os.Stderr, "%d handles are left\n", Handles())
			os.Exit(1)
		}
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
	}
	os.Exit(code)
}

// world is a small finished loop: what the deeds of the matrix are done with.
type world struct {
	folder string
	number *int64 // for names that nobody else has

	config      *Config
	dataset     *Dataset
	embeddings  *Embeddings
	selection   *Selection
	dialogues   *Dialogues
	model       *Model
	query       *KeptQuery
	recommender *Recommender
	report      *Report
}

func newWorld(t *testing.T) *world {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w := &world{folder: t.TempDir(), number: new(int64)}
	ctx := context.Background()
	c, err := NewConfig("[simulate]\nitems = 60\nusers = 60\nreviews = 240\nconversations = 20\n[embed]\ndim = 8\nuser_dim = 4\n" +
		"[select]\nbudget = 8\n[synthesize]\nqueries = 1\n[tune]\nhead_epochs = 1\n[recommend]\nsystem = \"popularity\"\n" +
		"[evaluate]\nbootstrap = 100\nexamples = 0\n")
	must(err)
	w.config = c
	must(Simulate(ctx, c, w.in("simulated")))
	w.dataset, err = NewDataset(c)
	must(err)
	for table, file := range []string{"items.jsonl", "reviews.jsonl"} {
		_, err := w.dataset.AddFile(ctx, Table(table), w.in("simulated/"+file))
		must(err)
	}
	must(w.dataset.Save(w.in("dataset")))
	w.embeddings, err = Embed(ctx, w.dataset, c, "")
	must(err)
	must(w.embeddings.Save(w.in("embeddings.safetensors")))
	w.selection, err = Select(ctx, w.dataset, w.embeddings, nil, c)
	must(err)
	must(w.selection.Save(w.in("selection.jsonl")))
	w.dialogues, err = Synthesize(ctx, w.dataset, w.selection, c, 1, "")
	must(err)
	must(w.dialogues.Save(w.in("dialogues.jsonl")))
	w.model, err = Tune(ctx, w.dialogues, w.dataset, w.embeddings, c)
	must(err)
	must(w.model.Save(w.in("head")))
	w.query, err = Keep(Query{Turns: []Turn{{"user", "something funny"}}})
	must(err)
	w.recommender, err = NewRecommender(ctx, w.dataset, w.embeddings, w.model, w.dialogues, c)
	must(err)
	w.report, err = w.evaluated()
	must(err)
	return w
}

func (w *world) in(name string) string { return filepath.Join(w.folder, name) }

// fresh is a name in the world's folder that nobody else has.
func (w *world) fresh() string {
	return w.in("fresh-" + strconv.FormatInt(atomic.AddInt64(w.number, 1), 10))
}

func (w *world) evaluated() (*Report, error) {
	lines, err := os.ReadFile(w.in("simulated/conversations.jsonl"))
	if err != nil {
		return nil, err
	}
	return Evaluate(context.Background(), []*Recommender{w.recommender}, lines, w.config)
}

func (w *world) close() {
	for _, noun := range w.nouns() {
		noun.now(w).Interface().(interface{ Close() }).Close()
	}
}

// nounUnderTest is a kind of handle.
type nounUnderTest struct {
	name string
	kind reflect.Type
	make func(t *testing.T) any
}

// now is the world's own handle of the kind.
func (n nounUnderTest) now(w *world) reflect.Value {
	fields := reflect.ValueOf(w).Elem()
	for i := 0; i < fields.NumField(); i++ {
		if fields.Field(i).Type() == n.kind {
			// The field is not exported, and this is its package.
			return reflect.NewAt(n.kind, fields.Field(i).Addr().UnsafePointer()).Elem()
		}
	}
	panic("the world has no " + n.name)
}

// nouns are all kinds of handles, and how a new one is made, cheaply.
func (w *world) nouns() []nounUnderTest {
	of := func(example any, make func() (any, error)) nounUnderTest {
		kind := reflect.TypeOf(example)
		return nounUnderTest{kind.Elem().Name(), kind, func(t *testing.T) any {
			t.Helper()
			made, err := make()
			if err != nil {
				t.Fatalf("%v: %v", kind, err)
			}
			return made
		}}
	}
	return []nounUnderTest{
		of(w.config, func() (any, error) {
			toml, err := w.config.TOML()
			if err != nil {
				return nil, err
			}
			return NewConfig(toml)
		}),
		of(w.dataset, func() (any, error) { return LoadDataset(w.in("dataset"), w.config) }),
		of(w.embeddings, func() (any, error) {
			rows, dim := w.embeddings.Shape()
			return EmbeddingsFromRows(w.embeddings.Values(), rows, dim)
		}),
		of(w.selection, func() (any, error) { return LoadSelection(w.in("selection.jsonl")) }),
		of(w.dialogues, func() (any, error) {
			t, _, err := LoadDialogues(w.in("dialogues.jsonl"))
			return t, err
		}),
		of(w.model, func() (any, error) { return LoadModel(w.in("head")) }),
		of(w.query, func() (any, error) { return Keep(Query{Turns: []Turn{{"user", "something funny"}}}) }),
		of(w.recommender, func() (any, error) {
			return NewRecommender(context.Background(), w.dataset, w.embeddings, nil, nil, w.config)
		}),
		of(w.report, func() (any, error) { return w.evaluated() }),
	}
}

// changes are the deeds after which a handle tells other things than before.
var changes = map[string]bool{
	"Config.Set": true, "Config.Read": true, "Dataset.Add": true, "Dataset.AddFile": true, "Dataset.AddArrow": true,
	"Dataset.AddArrowStream": true, "Dialogues.Add": true, "KeptQuery.Turn": true, "KeptQuery.Seen": true, "KeptQuery.Exclude": true,
	"KeptQuery.ExcludeRows": true, "KeptQuery.Allow": true, "KeptQuery.AllowRows": true, "KeptQuery.Explain": true,
	"KeptQuery.Clear": true, "Recommender.Add": true,
}

// optional are the arguments of functions that may be nil.
var optional = map[string]bool{
	"Select Dataset": true, "Select Selection": true, "SelectKeeping Dataset": true, "SelectKeeping Selection": true,
	"FitCenters Dataset": true, "SelectPart Dataset": true, "FinaliseParts Dataset": true, "TuneLM Dataset": true,
	"NewRecommender Embeddings": true, "NewRecommender Model": true, "NewRecommender Dialogues": true,
}

// arguments of every method and of every function that takes a handle. A deed without an entry fails the matrix.
func (w *world) arguments(ctx context.Context) map[string]func() []any {
	none := func() []any { return nil }
	is := func(arguments ...any) func() []any { return func() []any { return arguments } }
	into := func(before ...any) func() []any {
		return func() []any { return append(before[:len(before):len(before)], w.fresh()) }
	}
	item := func() []byte {
		return []byte(fmt.Sprintf("{\"item\": \"new-%d\", \"title\": \"New\"}\n", atomic.AddInt64(w.number, 1)))
	}
	// The little that holds a batch is left to the end of the process.
	batch := func() arrow.Batch {
		return arrow.Texts([]string{"item"}, []string{fmt.Sprintf("arrow-%d", atomic.AddInt64(w.number, 1))})
	}
	c, d, e, s, dialogues := w.config, w.dataset, w.embeddings, w.selection, w.dialogues
	conversations := []byte("{\"turns\": [{\"role\": \"user\", \"text\": \"funny\"}], \"targets\": [{\"item\": \"" + w.recommender.ID(0) + "\"}]}\n")
	teacher := Teacher(func(context.Context, Request) (Answer, error) {
		return Answer{}, &TeacherError{Why: Refused, Message: "no"}
	})
	return map[string]func() []any{
		"Config.Set": is("select.budget", "9"), "Config.Read": is("[select]\nbudget = 9\n"), "Config.Get": is("embed.dim"),
		"Config.TOML": none, "Config.Close": none,

		"Dataset.Add": func() []any { return []any{Items, item()} },
		"Dataset.AddFile": func() []any {
			file := w.fresh()
			if err := os.WriteFile(file, item(), 0o600); err != nil {
				panic(err)
			}
			return []any{ctx, Items, file}
		},
		"Dataset.AddArrow":       func() []any { b := batch(); return []any{Items, b.Schema(), b.Array()} },
		"Dataset.AddArrowStream": func() []any { return []any{ctx, Items, arrow.StreamOf(batch(), false).Pointer()} },
		"Dataset.Count":          is(Items), "Dataset.Title": is(3), "Dataset.Report": none, "Dataset.Save": into(), "Dataset.Close": none,

		"Embeddings.Shape": none, "Embeddings.Row": is(2), "Embeddings.Values": none, "Embeddings.Save": into(),
		"Embeddings.Pack": func() []any { return []any{ctx, "f16", w.fresh()} }, "Embeddings.Close": none,

		"Selection.Rows": none, "Selection.Gains": none, "Selection.Report": none, "Selection.Save": into(), "Selection.Close": none,

		"Dialogues.Len": none, "Dialogues.JSON": is(0), "Dialogues.Report": none, "Dialogues.Add": is(dialogues),
		"Dialogues.Save": into(), "Dialogues.Close": none,

		"Model.Save": into(), "Model.File": none, "Model.Report": none, "Model.Close": none,

		"KeptQuery.Turn": is("user", "more"), "KeptQuery.Seen": is(ItemName{Title: "New"}), "KeptQuery.Exclude": is("gone"),
		"KeptQuery.ExcludeRows": is([]uint64{1}), "KeptQuery.Allow": is(w.recommender.ID(5)), "KeptQuery.AllowRows": is([]uint64{2, 3}),
		"KeptQuery.Explain": is(0), "KeptQuery.Clear": none, "KeptQuery.Close": none,

		"Recommender.Len": none, "Recommender.ID": is(1), "Recommender.Name": none, "Recommender.Find": is(w.recommender.ID(1)),
		"Recommender.Recommend": is(ctx, w.query, 3), "Recommender.Ask": is(ctx, w.query, 3),
		"Recommender.RecommendMany": is(ctx, []Asked{w.query, w.query}, 3), "Recommender.AskMany": is(ctx, []Asked{w.query, w.query}, 3),
		"Recommender.Rank": is(ctx, w.query, 3), "Recommender.Say": is(ctx, w.query, 3), "Recommender.Score": is(ctx, w.query),
		"Recommender.ScoreMany": is(ctx, []Asked{w.query, w.query}), "Recommender.Add": func() []any { return []any{ctx, item()} },
		"Recommender.Bytes": none, "Recommender.Generation": none, "Recommender.SwapAdapter": is(uint64(1), "", float32(1)),
		"Recommender.RollBack": is(uint64(1)), "Recommender.Close": none,

		"Report.JSON": none, "Report.HTML": none, "Report.Metric": is(0, "recall@10"), "Report.Save": into(), "Report.Close": none,

		// A query belongs to no recommender: these are done to it as well.
		"KeptQuery by Recommend": is(ctx, w.query, 3), "KeptQuery by AskMany": is(ctx, []Asked{w.query}, 3),
		"KeptQuery by Score": is(ctx, w.query),

		"Simulate": into(ctx, c), "NewDataset": is(c), "ImportDataset": is(ctx, c), "LoadDataset": is(w.in("dataset"), c),
		"Embed": is(ctx, d, c, ""), "EmbedShard": func() []any { return []any{ctx, d, c, w.fresh(), 0, 2} },
		"Select": is(ctx, d, e, s, c), "SelectKeeping": func() []any { return []any{ctx, d, e, s, w.fresh(), c} },
		"FitCenters":    into(ctx, d, e, c),
		"SelectPart":    func() []any { return []any{ctx, d, e, 0, 2, c, w.fresh()} },
		"FinaliseParts": is(ctx, d, e, w.in("none"), c),
		"Synthesize":    is(ctx, d, s, c, uint64(1), ""), "SynthesizeWith": is(ctx, d, s, "none", teacher, c, uint64(1), ""),
		"ExportRequests": func() []any { return []any{ctx, d, s, c, w.fresh(), w.fresh()} },
		"Tune":           is(ctx, dialogues, d, e, c),
		"TuneLM":         func() []any { return []any{ctx, dialogues, d, w.in("none"), w.fresh(), c} },
		"NewModel":       func() []any { return []any{ctx, d, uint64(1), w.fresh(), "", c} },
		"NewRecommender": is(ctx, d, e, w.model, dialogues, c), "OpenRecommender": is(ctx, w.in("none"), "", c),
		"OpenLM": is(ctx, d, w.in("none"), "", c), "Evaluate": is(ctx, []*Recommender{w.recommender}, conversations, c),
		"Pipeline": func() []any { return []any{ctx, c, w.fresh(), false} },
	}
}

// functions are those of this package that take a handle; the test below compares them with the source.
var functions = map[string]any{
	"Simulate": Simulate, "NewDataset": NewDataset, "ImportDataset": ImportDataset, "LoadDataset": LoadDataset, "Embed": Embed,
	"EmbedShard": EmbedShard, "Select": Select, "SelectKeeping": SelectKeeping, "FitCenters": FitCenters, "SelectPart": SelectPart,
	"FinaliseParts": FinaliseParts, "Synthesize": Synthesize, "SynthesizeWith": SynthesizeWith, "ExportRequests": ExportRequests,
	"Tune": Tune, "TuneLM": TuneLM, "NewModel": NewModel, "NewRecommender": NewRecommender, "OpenRecommender": OpenRecommender,
	"OpenLM": OpenLM, "Evaluate": Evaluate, "Pipeline": Pipeline,
}

// deed is a method of a handle, or a function that takes one.
type deed struct {
	name   string
	method bool
}

// deeds are all that can be done with a handle.
func (w *world) deeds(t *testing.T, noun nounUnderTest) []deed {
	t.Helper()
	table := w.arguments(context.Background())
	var deeds []deed
	for i := 0; i < noun.kind.NumMethod(); i++ {
		name := noun.name + "." + noun.kind.Method(i).Name
		if table[name] == nil {
			t.Errorf("%s has no arguments in the table", name)
			continue
		}
		deeds = append(deeds, deed{name, true})
	}
	for name, function := range functions {
		kind := reflect.TypeOf(function)
		for i := 0; i < kind.NumIn(); i++ {
			if in := kind.In(i); in == noun.kind || in.Kind() == reflect.Slice && in.Elem() == noun.kind {
				if table[name] == nil {
					t.Errorf("%s has no arguments in the table", name)
					continue
				}
				deeds = append(deeds, deed{name, false})
				break
			}
		}
	}
	for name := range table {
		if strings.HasPrefix(name, noun.name+" by ") {
			deeds = append(deeds, deed{name, false})
		}
	}
	sort.Slice(deeds, func(i, j int) bool { return deeds[i].name < deeds[j].name })
	return deeds
}

// outcome is what a deed gave.
type outcome struct {
	values   []any
	err      error
	fallible bool
}

func (o outcome) empty() bool {
	for _, value := range o.values {
		if v := reflect.ValueOf(value); v.IsValid() && !v.IsZero() {
			return false
		}
	}
	return true
}

// end closes what was made.
func (o outcome) end() {
	for _, value := range o.values {
		if v := reflect.ValueOf(value); v.IsValid() && v.Kind() == reflect.Pointer && !v.IsNil() {
			if made, ok := value.(interface{ Close() }); ok {
				made.Close()
			}
		}
	}
}

// do does a deed to a handle, in the place of the world's own; a long one ends in time.
func (w *world) do(deed deed, noun nounUnderTest, victim any, patience time.Duration) outcome {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var function reflect.Value
	var arguments []any
	if deed.method {
		function = reflect.ValueOf(victim).MethodByName(strings.SplitN(deed.name, ".", 2)[1])
		arguments = w.arguments(ctx)[deed.name]()
	} else {
		mine := &world{
			folder: w.folder, number: w.number, config: w.config, dataset: w.dataset, embeddings: w.embeddings, selection: w.selection,
			dialogues: w.dialogues, model: w.model, query: w.query, recommender: w.recommender, report: w.report,
		}
		noun.now(mine).Set(reflect.ValueOf(victim))
		if name := strings.TrimPrefix(deed.name, noun.name+" by "); name != deed.name {
			function = reflect.ValueOf(w.recommender).MethodByName(name)
		} else {
			function = reflect.ValueOf(functions[deed.name])
		}
		arguments = mine.arguments(ctx)[deed.name]()
	}
	in := make([]reflect.Value, len(arguments))
	for i, argument := range arguments {
		if in[i] = reflect.ValueOf(argument); argument == nil {
			in[i] = reflect.Zero(function.Type().In(i))
		}
	}
	var o outcome
	for _, value := range function.Call(in) {
		if value.Type() == reflect.TypeOf((*error)(nil)).Elem() {
			o.fallible = true
			o.err, _ = value.Interface().(error)
			continue
		}
		o.values = append(o.values, value.Interface())
	}
	return o
}

func code(err error) int {
	var failure *Error
	if errors.As(err, &failure) {
		return failure.Code
	}
	return 0
}

func TestTheMatrixKnowsEveryFunctionThatTakesAHandle(t *testing.T) {
	packages, err := parser.ParseDir(token.NewFileSet(), ".", func(f os.FileInfo) bool { return !strings.HasSuffix(f.Name(), "_test.go") }, 0)
	if err != nil {
		t.Fatal(err)
	}
	handles := map[string]bool{}
	w := newWorld(t)
	defer w.close()
	for _, noun := range w.nouns() {
		handles[noun.name] = true
	}
	found := 0
	for _, file := range packages["causerie"].Files {
		for _, declared := range file.Decls {
			// A type that has the number of a handle is one.
			if types, ok := declared.(*ast.GenDecl); ok && types.Tok == token.TYPE {
				for _, spec := range types.Specs {
					name := spec.(*ast.TypeSpec).Name.Name
					if fields, ok := spec.(*ast.TypeSpec).Type.(*ast.StructType); ok && len(fields.Fields.List) == 1 {
						if of, ok := fields.Fields.List[0].Type.(*ast.IndexExpr); ok && fmt.Sprint(of.X) == "noun" && !handles[name] {
							t.Errorf("the matrix knows no %s", name)
						}
					}
				}
			}
			function, ok := declared.(*ast.FuncDecl)
			if !ok || function.Recv != nil || !function.Name.IsExported() {
				continue
			}
			takes := false
			for _, parameter := range function.Type.Params.List {
				kind := parameter.Type
				if list, ok := kind.(*ast.ArrayType); ok {
					kind = list.Elt
				}
				if pointer, ok := kind.(*ast.StarExpr); ok {
					name, _ := pointer.X.(*ast.Ident)
					takes = takes || name != nil && handles[name.Name]
				}
			}
			if takes {
				found++
				if functions[function.Name.Name] == nil {
					t.Errorf("the matrix does not call %s", function.Name.Name)
				}
			}
		}
	}
	if found != len(functions) || len(handles) != 9 {
		t.Errorf("%d functions were found, %d are known; %d handles", found, len(functions), len(handles))
	}
}

// Every pair of deeds on one handle, from sixteen goroutines: a crash, a race, a hang, or another error than Busy and ErrClosed
// was what some of them gave. CAUSERIE_MATRIX_SECONDS says for how long in all.
func TestEveryPairOfDeedsOnOneHandleFromSixteenGoroutines(t *testing.T) {
	seconds, err := strconv.ParseFloat(os.Getenv("CAUSERIE_MATRIX_SECONDS"), 64)
	if err != nil {
		seconds = 10
	}
	w := newWorld(t)
	defer w.close()
	pairs := 0
	for _, noun := range w.nouns() {
		n := len(w.deeds(t, noun))
		pairs += n * (n + 1) / 2
	}
	slice := time.Duration(seconds * float64(time.Second) / float64(pairs))
	var calls, busy, closed int64
	for _, noun := range w.nouns() {
		began := time.Now()
		// What a deed gives alone, twice in a row.
		deeds := w.deeds(t, noun)
		alone := map[string][]outcome{}
		for _, deed := range deeds {
			victim := noun.make(t)
			for i := 0; i < 2; i++ {
				o := w.do(deed, noun, victim, 300*time.Millisecond)
				alone[deed.name] = append(alone[deed.name], o)
				o.end()
			}
			victim.(interface{ Close() }).Close()
		}
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
		for i := range deeds {
			for j := i; j < len(deeds); j++ {
				before := Handles()
				w.pair(t, noun, [2]deed{deeds[i], deeds[j]}, alone, slice, &calls, &busy, &closed)
				if now := Handles(); now > before {
					t.Fatalf("%s and %s: %d handles, %d before", deeds[i].name, deeds[j].name, now, before)
				}
				if t.Failed() {
					return
				}
			}
		}
		t.Logf("%s: %d deeds, %v", noun.name, len(deeds), time.Since(began).Round(time.Millisecond))
	}
	t.Logf("%d pairs, %d calls; %d busy, %d closed", pairs, calls, busy, closed)
	if busy == 0 || closed == 0 {
		t.Errorf("%d calls: %d were busy, %d closed", calls, busy, closed)
	}
}

func (w *world) pair(t *testing.T, noun nounUnderTest, pair [2]deed, alone map[string][]outcome, slice time.Duration, calls, busy, closed *int64) {
	victim := noun.make(t)
	begin, end := make(chan struct{}), time.Now().Add(slice)
	var group sync.WaitGroup
	for i := 0; i < 16; i++ {
		group.Add(1)
		go func(deed deed, i int) {
			defer group.Done()
			<-begin
			for n := 0; n == 0 || time.Now().Before(end); n++ {
				// Whoever closes leaves the others some time.
				if strings.HasSuffix(deed.name, ".Close") {
					time.Sleep(slice / 3)
				}
				o := w.do(deed, noun, victim, []time.Duration{slice / 8, slice / 2, 0, 2 * slice}[(n+i)%4])
				o.end()
				atomic.AddInt64(calls, 1)
				switch {
				case errors.Is(o.err, &Error{Code: Busy}):
					atomic.AddInt64(busy, 1)
				case errors.Is(o.err, ErrClosed):
					atomic.AddInt64(closed, 1)
					if pair[0].name != noun.name+".Close" && pair[1].name != noun.name+".Close" {
						t.Errorf("%s beside %v: %v", deed.name, pair, o.err)
					}
				case errors.Is(o.err, context.DeadlineExceeded):
				case o.err != nil && code(o.err) != code(alone[deed.name][0].err) && code(o.err) != code(alone[deed.name][1].err):
					t.Errorf("%s beside %v: %v; alone %v", deed.name, pair, o.err, alone[deed.name][0].err)
				case !o.fallible && !o.empty() && !changes[pair[0].name] && !changes[pair[1].name] &&
					!reflect.DeepEqual(o.values, alone[deed.name][0].values):
					t.Errorf("%s beside %v: %v; alone %v", deed.name, pair, o.values, alone[deed.name][0].values)
				}
			}
		}(pair[i%2], i)
	}
	close(begin)
	over := make(chan struct{})
	go func() { group.Wait(); close(over) }()
	select {
	case <-over:
	case <-time.After(2 * time.Minute):
		stacks := make([]byte, 1<<20)
		t.Fatalf("%v hang:\n%s", pair, stacks[:runtime.Stack(stacks, true)])
	}
	victim.(interface{ Close() }).Close()
}

// Sixteen goroutines ask while their contexts end; the program that is this test crashed at its Close.
func TestCallsWhoseContextsEndBesideACloseOfTheRecommender(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	var group sync.WaitGroup
	for i := 0; i < 16; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for k := 0; ; k++ {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(k%7)*30*time.Microsecond)
				_, err := w.recommender.Recommend(ctx, w.query, 5)
				cancel()
				if errors.Is(err, ErrClosed) {
					return
				}
				if err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v", err)
					return
				}
			}
		}()
	}
	time.Sleep(300 * time.Millisecond)
	w.recommender.Close()
	group.Wait()
}
