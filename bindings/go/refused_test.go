package causerie

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func refused(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, &Error{Code: Invalid}) {
		t.Errorf("%s: %v", what, err)
	}
}

// C would have read another number, the beginning of a name, or nothing at all.
func TestNumbersNamesAndMasksThatCWouldMisreadWereTakenForOthers(t *testing.T) {
	c, d, e := loaded(t)
	if err := c.Set("recommend.system", "popularity"); err != nil {
		t.Fatal(err)
	}
	ctx, less, folder := context.Background(), -1, t.TempDir()
	r, err := NewRecommender(ctx, d, nil, nil, nil, c)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	turns := []Turn{{"user", "funny"}}
	ask := func(q Query, topK int) error {
		_, err := r.Recommend(ctx, q, topK)
		if kept, keeping := Keep(q); keeping == nil {
			defer kept.Close()
			if _, again := r.Ask(ctx, kept, topK); (again == nil) != (err == nil) {
				t.Errorf("%v, kept %v", err, again)
			}
		} else if err == nil {
			t.Errorf("kept: %v", keeping)
		}
		return err
	}
	for _, topK := range []int{-1, 1 << 31, 1<<32 + 1} {
		refused(t, "topK", ask(Query{Turns: turns}, topK))
		_, _, err := r.Rank(ctx, Query{Turns: turns}, topK)
		refused(t, "topK of Rank", err)
		_, _, err = r.Say(ctx, Query{Turns: turns}, topK)
		refused(t, "topK of Say", err)
	}
	big := 1<<32 + 1
	refused(t, "Explain -1", ask(Query{Turns: turns, Explain: &less}, 5))
	refused(t, "Explain 2^32+1", ask(Query{Turns: turns, Explain: &big}, 5))
	refused(t, "seen {}", ask(Query{Turns: turns, Seen: []ItemName{{}}}, 5))
	refused(t, "a year alone", ask(Query{Turns: turns, Seen: []ItemName{{Year: 1999}}}, 5))
	for _, year := range []int{-1, 1 << 16, 1<<32 + 1999} {
		refused(t, "year", ask(Query{Turns: turns, Seen: []ItemName{{Title: "x", Year: year}}}, 5))
		refused(t, "year of an id", ask(Query{Turns: turns, Seen: []ItemName{{Item: "y", Title: "x", Year: year}}}, 5))
	}
	refused(t, "role", ask(Query{Turns: []Turn{{"system", "x"}}}, 5))
	past := []uint64{math.MaxUint64}
	refused(t, "a row past the end", ask(Query{Turns: turns, ExcludeRows: past}, 5))
	refused(t, "a row past the end", ask(Query{Turns: turns, AllowRows: &past}, 5))
	var unsaid *KeptQuery
	for _, q := range []Asked{nil, unsaid, (*Query)(nil)} {
		_, err := r.Recommend(ctx, q, 5)
		refused(t, "nil query", err)
	}
	_, err = r.AskMany(ctx, nil, 5)
	refused(t, "nil queries", err)
	_, err = r.ScoreMany(ctx, nil)
	refused(t, "nil queries", err)
	if _, err := r.Recommend(ctx, &KeptQuery{}, 5); !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}

	_, err = EmbedShard(ctx, d, c, folder, -1, 2)
	refused(t, "shard", err)
	_, err = EmbedShard(ctx, d, c, folder, 0, -2)
	refused(t, "shards", err)
	_, err = JoinShards(folder, -1)
	refused(t, "shards", err)
	refused(t, "part", SelectPart(ctx, d, e, -1, 2, c, folder+"/p"))
	refused(t, "parts", SelectPart(ctx, d, e, 0, -2, c, folder+"/p"))
	for _, shape := range [][2]int{{1 << 32, 1 << 32}, {-1, -1}, {2, 2}, {math.MaxInt, 2}, {3, math.MaxInt}} {
		_, err = EmbeddingsFromRows([]float32{1}, shape[0], shape[1])
		refused(t, "shape", err)
	}
	_, err = EmbeddingsFromRows(nil, 0, 0)
	refused(t, "nil values", err)
	_, err = EmbeddingsFromRows([]float32{float32(math.NaN())}, 1, 1)
	if err == nil {
		t.Error("NaN was taken")
	}
	_, err = d.Add(Table(1<<32), []byte("{}"))
	refused(t, "table", err)
	_, err = d.Add(Items, nil)
	refused(t, "nil lines", err)
	_, err = r.Add(ctx, nil)
	refused(t, "nil lines", err)
	_, _, err = ParseDialogues(nil)
	refused(t, "nil lines", err)
	_, err = ParseQuery(nil)
	refused(t, "nil request", err)
	_, err = SynthesizeWith(ctx, d, selected(t, c, e), "x", nil, c, 1, "")
	refused(t, "nil teacher", err)
	for _, systems := range [][]*Recommender{nil, {}, {nil}} {
		_, err = Evaluate(ctx, systems, nil, c)
		refused(t, "systems", err)
	}
	_, err = Evaluate(ctx, []*Recommender{r}, []byte{}, c)
	refused(t, "no conversations", err)
	refused(t, "nil files", MergeParts(nil, folder+"/m"))
	refused(t, "threads", e.Pack(WithThreads(ctx, -1), "f32", folder+"/p"))
	refused(t, "threads", e.Pack(WithThreads(ctx, 1<<32+1), "f32", folder+"/p"))
	refused(t, "log level", SetLog(0, func(int, string) {}))
	if d.Count(Table(1<<32)) != 0 || d.Count(-1) != 0 || d.Title(-1) != "" || r.ID(-1) != "" || e.Row(-1) != nil || e.Row(math.MaxInt) != nil {
		t.Error("something stands before the first or past the last")
	}

	refused(t, "NUL", e.Save(folder+"/nul\x00evil"))
	if _, err := os.Stat(folder + "/nul"); err == nil {
		t.Error("a file was written whose name was cut")
	}
	_, err = LoadModel("a\x00b")
	refused(t, "NUL", err)
	refused(t, "NUL", MergeParts([]string{"a\x00b"}, "c"))
	refused(t, "NUL", c.Set("select.budget", "5\x00"))
	refused(t, "NUL", c.Set("select.budget\x00", "5"))
	_, err = OpenRecommender(ctx, "work", "\x00", c)
	refused(t, "NUL", err)
	if err := c.Set("evaluate.conversations", ""); err != nil {
		t.Errorf("an empty value is one: %v", err)
	}
}

// {"id": …}, which the server takes, is what C's JSON, ParseQuery and Query take; what is misspelt is an error.
func TestASeenItemByIDWasIgnoredAndCameBack(t *testing.T) {
	c, d, _ := loaded(t)
	ctx, r := context.Background(), popular(t, c, d)
	first, err := r.Recommend(ctx, Query{Turns: []Turn{}}, 1)
	if err != nil || len(first) != 1 {
		t.Fatalf("%v %v", first, err)
	}
	id := first[0].Item
	for _, seen := range []string{`{"id": "` + id + `"}`, `{"item": "` + id + `"}`, `{"imdb": "` + id + `"}`, `"` + id + `"`} {
		text := `{"turns": [], "seen": [` + seen + `]}`
		var query Query
		if err := json.Unmarshal([]byte(text), &query); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		kept, err := ParseQuery([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		for _, q := range []Asked{query, kept} {
			if items, err := r.Recommend(ctx, q, 1); err != nil || items[0].Item == id {
				t.Errorf("%s: %v %v", text, items, err)
			}
		}
		kept.Close()
	}
	for _, text := range []string{
		`{"turns": [], "seen": [{"ids": "a"}]}`, `{"turns": [], "seen": [{}]}`, `{"turns": [], "seen": [{"id": "a", "titel": "b"}]}`,
		`{"turns": [], "seen": "a"}`, `{"turns": [], "seen": [null]}`, `{"turns": [], "seen": [{"year": 1999}]}`,
		`{"turns": [], "excluded": ["a"]}`, `{"turns": [], "exclude": "a"}`, `{"turns": [], "allow": "a"}`, `{"turns": [], "explain": 1.5}`,
		`{"turns": 7}`, `{}`, `{"turns": [], "seen": [{"id": "a", "item": "b"}]}`,
	} {
		if err := json.Unmarshal([]byte(text), new(Query)); err == nil {
			t.Errorf("%s was taken", text)
		}
		if kept, err := ParseQuery([]byte(text)); !errors.Is(err, &Error{Code: Invalid}) {
			t.Errorf("C: %s: %v %v", text, kept, err)
		}
	}
	var query Query
	if err := json.Unmarshal([]byte(`[{"role": "user", "text": "funny"}]`), &query); err != nil || len(query.Turns) != 1 {
		t.Fatalf("%v %v", query, err)
	}
	none := []string{}
	if items, err := r.Recommend(ctx, Query{Turns: query.Turns, Allow: &none}, 5); err != nil || len(items) != 0 {
		t.Fatalf("an empty allow-list gave %v, %v", items, err)
	}
}

// Everything that this package exports: nil handles, handles that nobody made and closed ones are errors, or 0, "" or nil.
func TestNilZeroAndClosedHandlesPanickedOrStoodForTheDefaults(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	for _, noun := range w.nouns() {
		for name, victim := range map[string]reflect.Value{
			"nil": reflect.Zero(noun.kind), "zero": reflect.New(noun.kind.Elem()), "closed": reflect.ValueOf(noun.make(t)),
		} {
			if name == "closed" {
				victim.MethodByName("Close").Call(nil)
			}
			for _, deed := range w.deeds(t, noun) {
				// Where nil is none, it is none.
				if name == "nil" && !deed.method && (noun.name == "Config" || optional[deed.name+" "+noun.name]) {
					continue
				}
				outcome := w.do(deed, noun, victim.Interface(), 5*time.Second)
				outcome.end()
				switch {
				case outcome.fallible && name == "nil":
					refused(t, deed.name+" of nil "+noun.name, outcome.err)
				case outcome.fallible && !errors.Is(outcome.err, ErrClosed):
					t.Errorf("%s of a %s %s: %v", deed.name, name, noun.name, outcome.err)
				case !outcome.fallible && !outcome.empty():
					t.Errorf("%s of a %s %s gave %v", deed.name, name, noun.name, outcome.values)
				}
			}
		}
	}
}

// Rows that are all bad were dropped, and the call succeeded.
func TestRowsThatWereDroppedAreCountedAndNothingButBadRowsIsAnError(t *testing.T) {
	c, d, _ := loaded(t)
	d.Close()
	d, err := NewDataset(c)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Add(Items, []byte("{\"itm\": \"a\"}\n")); !errors.Is(err, &Error{Code: Format}) {
		t.Fatalf("%v", err)
	}
	if _, err := d.Add(Items, []byte("{\"item\": NaN}\n")); !errors.Is(err, &Error{Code: Format}) {
		t.Fatalf("%v", err)
	}
	if n, err := d.Add(Items, []byte("{\"item\": \"a\", \"title\": \"A\"}\n{\"itm\": \"b\"}\n{\"item\": \"a\"}\n")); err != nil || n != 2 || d.Count(Items) != 1 {
		t.Fatalf("%d dropped: %v", n, err)
	}
	file := filepath.Join(t.TempDir(), "more.jsonl")
	if err := os.WriteFile(file, []byte("{\"item\": \"c\"}\n[]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := d.AddFile(context.Background(), Items, file); err != nil || n != 1 || d.Count(Items) != 2 {
		t.Fatalf("%d dropped: %v", n, err)
	}
	if report, err := d.Report(); err != nil || !strings.Contains(report, "bad_lines") {
		t.Fatalf("%s %v", report, err)
	}
	if err := c.Set("dataset.items", file); err != nil {
		t.Fatal(err)
	}
	imported, n, err := ImportDataset(context.Background(), c)
	if err != nil || n != 1 || imported.Count(Items) != 1 {
		t.Fatalf("%d dropped: %v", n, err)
	}
	imported.Close()
	if _, n, err := ParseDialogues([]byte("nothing\n")); !errors.Is(err, &Error{Code: Format}) || n != 0 {
		t.Fatalf("%d %v", n, err)
	}
}

func selected(t *testing.T, c *Config, e *Embeddings) *Selection {
	t.Helper()
	s, err := Select(context.Background(), nil, e, nil, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
