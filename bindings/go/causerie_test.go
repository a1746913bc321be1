package causerie

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
)

const small = "[simulate]\nitems = 60\nusers = 100\nreviews = 500\nconversations = 20\n[embed]\ndim = 16\nuser_dim = 8\n" +
	"[select]\nbudget = 20\n[synthesize]\nqueries = 1\n[tune]\nhead_epochs = 1\n"

func loaded(t *testing.T) (*Config, *Dataset, *Embeddings) {
	t.Helper()
	ctx, folder := context.Background(), t.TempDir()
	c, err := NewConfig(small)
	if err != nil {
		t.Fatal(err)
	}
	if err := Simulate(ctx, c, folder); err != nil {
		t.Fatal(err)
	}
	d, err := NewDataset(c)
	if err != nil {
		t.Fatal(err)
	}
	for table, file := range []string{"items.jsonl", "reviews.jsonl"} {
		lines, err := os.ReadFile(filepath.Join(folder, file))
		if err != nil {
			t.Fatal(err)
		}
		if dropped, err := d.Add(Table(table), lines); err != nil || dropped != 0 {
			t.Fatalf("%d rows dropped: %v", dropped, err)
		}
	}
	e, err := Embed(ctx, d, c, "")
	if err != nil {
		t.Fatal(err)
	}
	return c, d, e
}

// popular is a recommender by popularity over what loaded gives; the test ends it.
func popular(t *testing.T, c *Config, d *Dataset) *Recommender {
	t.Helper()
	if err := c.Set("recommend.system", "popularity"); err != nil {
		t.Fatal(err)
	}
	r, err := NewRecommender(context.Background(), d, nil, nil, nil, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// model is a recommender by the small language model, where there is one, with these settings; the test ends it.
func model(t *testing.T, settings string) *Recommender {
	t.Helper()
	file := os.Getenv("CAUSERIE_TEST_MODEL")
	if file == "" {
		t.Skip("CAUSERIE_TEST_MODEL names no GGUF")
	}
	c, d, _ := loaded(t)
	if err := c.Read(settings); err != nil {
		t.Fatal(err)
	}
	r, err := OpenLM(context.Background(), d, file, "", c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func TestManyGoroutinesAskTwoRecommendersAtOnce(t *testing.T) {
	c, d, _ := loaded(t)
	if err := c.Set("recommend.system", "popularity"); err != nil {
		t.Fatal(err)
	}
	var recommenders []*Recommender
	for i := 0; i < 2; i++ {
		r, err := NewRecommender(context.Background(), d, nil, nil, nil, c)
		if err != nil {
			t.Fatal(err)
		}
		recommenders = append(recommenders, r)
	}
	query := Query{Turns: []Turn{{"user", "something funny"}}, Exclude: []string{recommenders[0].ID(0)}}
	var group sync.WaitGroup
	for i := 0; i < 8; i++ {
		group.Add(1)
		go func(r *Recommender) {
			defer group.Done()
			for n := 0; n < 20; n++ {
				items, err := r.Recommend(context.Background(), query, 5)
				if err != nil || len(items) != 5 {
					t.Errorf("%v, %v", items, err)
				}
				for _, item := range items {
					if item.Item == query.Exclude[0] {
						t.Errorf("an excluded item came back")
					}
				}
			}
		}(recommenders[i%2])
	}
	group.Wait()
	none := []string{}
	items, err := recommenders[0].Recommend(context.Background(), Query{Turns: query.Turns, Allow: &none}, 5)
	if err != nil || len(items) != 0 {
		t.Fatalf("an empty allow-list gave %v, %v", items, err)
	}
	alone := recommenders[0]
	// Rows say what ids say; several queries in one call are answered as each alone.
	ids := []string{alone.ID(7), alone.ID(3)}
	rows, first := []uint64{7, 3}, []uint64{0}
	byID, err := alone.Recommend(context.Background(), Query{Turns: query.Turns, Allow: &ids, Exclude: []string{alone.ID(0)}}, 5)
	if err != nil || len(byID) != 2 {
		t.Fatalf("%v %v", byID, err)
	}
	byRow := Query{Turns: query.Turns, AllowRows: &rows, ExcludeRows: first}
	answers, err := alone.RecommendMany(context.Background(), Each([]Query{byRow, query}), 5)
	if err != nil || len(answers) != 2 || !reflect.DeepEqual(answers[0], byID) || len(answers[1]) != 5 {
		t.Fatalf("%v %v", answers, err)
	}
	ranked, scores, err := alone.Rank(context.Background(), byRow, 5)
	if err != nil || len(ranked) != 2 || ranked[0] != byID[0].Row || scores[1] != byID[1].Score {
		t.Fatalf("%v %v %v", ranked, scores, err)
	}
	if row, err := alone.Find(ids[0]); err != nil || row != 7 {
		t.Fatalf("%v %v", row, err)
	}
	if _, err := alone.Find("gone"); !errors.Is(err, &Error{Code: NotFound}) {
		t.Fatalf("%v", err)
	}
	// What was seen is named by id, by title, or by both: the title counts where the id is not in the catalogue.
	for _, seen := range []ItemName{{Item: ids[0]}, {Item: ids[0], Title: "elsewhere"}, {Item: "gone", Title: byID[0].Title}, {Title: byID[0].Title}} {
		items, err := alone.Recommend(context.Background(), Query{Turns: query.Turns, AllowRows: &rows, Seen: []ItemName{seen}}, 5)
		if err != nil || len(items) != 1 {
			t.Fatalf("%v: %v %v", seen, items, err)
		}
	}
	if _, err := alone.Recommend(context.Background(), Query{Turns: []Turn{{"system", "x"}}}, 5); !errors.Is(err, &Error{Code: Invalid}) {
		t.Fatalf("%v", err)
	}
	recommenders[0].Close()
	recommenders[0].Close()
	if _, err := recommenders[0].Recommend(context.Background(), query, 5); !errors.Is(err, ErrClosed) {
		t.Fatalf("a closed recommender gave %v", err)
	}
	runtime.GC()
}

// A Close beside calls was a data race, and read memory that was gone.
func TestAHandleThatIsClosedInUseGivesErrClosedAndNothingElse(t *testing.T) {
	c, d, e := loaded(t)
	ctx, r := context.Background(), popular(t, c, d)
	s, err := Select(ctx, nil, e, nil, c)
	if err != nil {
		t.Fatal(err)
	}
	row, picks, id := e.Row(0), s.Rows(), r.ID(0)
	var group, started sync.WaitGroup
	for i := 0; i < 4; i++ {
		group.Add(1)
		started.Add(1)
		go func() {
			defer group.Done()
			for n := 0; ; n++ {
				items, err := r.Recommend(ctx, Query{Turns: []Turn{{"user", "funny"}}}, 5)
				if n == 0 {
					started.Done()
				}
				if got := e.Row(0); got != nil && !reflect.DeepEqual(got, row) {
					t.Errorf("a row that was gone: %v", got)
				}
				if got := s.Rows(); got != nil && !reflect.DeepEqual(got, picks) {
					t.Errorf("picks that were gone: %v", got)
				}
				if got := r.ID(0); got != "" && got != id {
					t.Errorf("an id that was gone: %q", got)
				}
				if err != nil {
					if !errors.Is(err, ErrClosed) {
						t.Errorf("%v", err)
					}
					return
				}
				if len(items) != 5 {
					t.Errorf("%v", items)
				}
			}
		}()
	}
	started.Wait()
	e.Close()
	s.Close()
	r.Close()
	r.Close()
	group.Wait()
	// Closed settings are no defaults, and a closed dataset is not none.
	c.Close()
	if _, err := NewDataset(c); !errors.Is(err, ErrClosed) {
		t.Fatalf("%v", err)
	}
	c, _ = NewConfig(small)
	if _, err := Select(ctx, nil, e, nil, c); !errors.Is(err, ErrClosed) {
		t.Fatalf("%v", err)
	}
	d.Close()
	if _, err := Embed(ctx, d, c, ""); !errors.Is(err, ErrClosed) {
		t.Fatalf("%v", err)
	}
	if _, err := r.Score(ctx, Query{}); !errors.Is(err, ErrClosed) {
		t.Fatalf("%v", err)
	}
	if e.Row(0) != nil || s.Rows() != nil || r.ID(0) != "" || r.Len() != 0 || d.Title(0) != "" {
		t.Fatal("a closed handle gave something")
	}
}

func TestAContextThatEndsEndsTheCall(t *testing.T) {
	c, d, _ := loaded(t)
	ctx, cancel := context.WithCancel(context.Background())
	ctx = WithProgress(ctx, func(Progress) { cancel() })
	if _, err := Embed(ctx, d, c, ""); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
}

func TestMappedRowsSelectInPartsAndWithACheckpoint(t *testing.T) {
	c, d, e := loaded(t)
	ctx, folder := context.Background(), t.TempDir()
	if err := c.Set("select.max_per_item", "1"); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "rows.safetensors")
	if err := e.Pack(ctx, "f32", file); err != nil {
		t.Fatal(err)
	}
	mapped, err := OpenEmbeddings(file)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := Select(ctx, d, e, nil, c)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := SelectKeeping(ctx, d, mapped, nil, filepath.Join(folder, "picks"), c)
	if err != nil || !reflect.DeepEqual(kept.Rows(), whole.Rows()) {
		t.Fatalf("%v", err)
	}
	var parts []string
	for i := 0; i < 2; i++ {
		parts = append(parts, filepath.Join(folder, "part"+string(rune('0'+i))))
		if err := SelectPart(ctx, d, mapped, i, 2, c, parts[i]); err != nil {
			t.Fatal(err)
		}
	}
	merged := filepath.Join(folder, "merged")
	if err := MergeParts(parts[:1], merged); !errors.Is(err, &Error{Code: Invalid}) {
		t.Fatalf("a missing part gave %v", err)
	}
	if err := MergeParts(parts, merged); err != nil {
		t.Fatal(err)
	}
	all, err := FinaliseParts(ctx, d, mapped, merged, c)
	if err != nil || len(all.Rows()) != len(whole.Rows()) {
		t.Fatalf("%v", err)
	}
}

func TestPartsOfJSShareCentres(t *testing.T) {
	c, _, e := loaded(t)
	ctx, folder := context.Background(), t.TempDir()
	set := func(key, value string) {
		if err := c.Set(key, value); err != nil {
			t.Fatal(err)
		}
	}
	set("select.strategy", "js")
	set("select.clusters", "6")
	whole, err := Select(ctx, nil, e, nil, c)
	if err != nil {
		t.Fatal(err)
	}
	centers := filepath.Join(folder, "centers.safetensors")
	if err := FitCenters(ctx, nil, e, c, centers); err != nil {
		t.Fatal(err)
	}
	set("select.centers", centers)
	given, err := Select(ctx, nil, e, nil, c)
	if err != nil || !reflect.DeepEqual(given.Rows(), whole.Rows()) {
		t.Fatalf("%v", err)
	}
	parts := []string{filepath.Join(folder, "a"), filepath.Join(folder, "b")}
	merged := filepath.Join(folder, "merged")
	for i, file := range parts {
		if err := SelectPart(ctx, nil, e, i, 2, c, file); err != nil {
			t.Fatal(err)
		}
	}
	if err := MergeParts(parts, merged); err != nil {
		t.Fatal(err)
	}
	all, err := FinaliseParts(ctx, nil, e, merged, c)
	if err != nil || len(all.Rows()) != len(whole.Rows()) {
		t.Fatalf("%v", err)
	}
	// A part on clusters of its own is not laid beside them.
	set("select.centers", "")
	if err := SelectPart(ctx, nil, e, 1, 2, c, parts[1]); err != nil {
		t.Fatal(err)
	}
	if err := MergeParts(parts, merged); err == nil || !strings.Contains(err.Error(), "select.centers") {
		t.Fatalf("%v", err)
	}
}

func TestReasonsAreReviewsNearestToWhatWasSaidFirst(t *testing.T) {
	c, d, e := loaded(t)
	if err := c.Read("[recommend]\nsystem = \"popularity\"\nexplain = 1\n"); err != nil {
		t.Fatal(err)
	}
	r, err := NewRecommender(context.Background(), d, e, nil, nil, c)
	if err != nil {
		t.Fatal(err)
	}
	three := 3
	for want, explain := range map[int]*int{1: nil, 3: &three} {
		items, err := r.Recommend(context.Background(), Query{Turns: []Turn{{"user", "funny"}}, Explain: explain}, 1)
		if err != nil || len(items) != 1 || len(items[0].Reasons) != want || items[0].Reasons[0].Text == "" {
			t.Fatalf("%v %v", items, err)
		}
		if s := items[0].Reasons; want == 3 && (s[0].Similarity < s[1].Similarity || s[1].Similarity < s[2].Similarity) {
			t.Fatalf("%v", s)
		}
	}
	if r.Bytes() < 10000 {
		t.Fatalf("%d bytes", r.Bytes())
	}
}

func TestErrorsHaveCodesAndSettingsAreListed(t *testing.T) {
	c, _ := NewConfig("")
	err := c.Set("select.bugdet", "1")
	var e *Error
	if !errors.As(err, &e) || e.Code != Invalid || !strings.Contains(e.Message, "select.budget") {
		t.Fatalf("%v", err)
	}
	if _, err := LoadModel("/no/such/file"); !errors.Is(err, &Error{Code: NotFound}) {
		t.Fatalf("%v", err)
	}
	if len(Settings()) < 50 {
		t.Fatal("the table of settings is short")
	}
	if _, err := EmbeddingsFromRows([]float32{1, 0, 0, 1}, 2, 2); err != nil {
		t.Fatal(err)
	}
	if _, err := EmbeddingsFromRows([]float32{1, 0, 0}, 2, 2); err == nil {
		t.Fatal("three values are no 2 x 2")
	}
}

// A language model of 260,000 parameters writes; its text arrives while it does.
func TestTokensOfALanguageModelArriveAsTheyAreWritten(t *testing.T) {
	model := os.Getenv("CAUSERIE_TEST_MODEL")
	if model == "" {
		t.Skip("CAUSERIE_TEST_MODEL names no GGUF")
	}
	c, d, _ := loaded(t)
	if err := c.Read("[recommend]\nmode = \"generate\"\ncontext_tokens = 256\n"); err != nil {
		t.Fatal(err)
	}
	r, err := OpenLM(context.Background(), d, model, "", c)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var pieces []string
	ctx := WithTokens(context.Background(), func(text string) { pieces = append(pieces, text) })
	query := Query{Turns: []Turn{{"user", "once upon a time"}}}
	if _, err := r.Recommend(ctx, query, 2); err != nil {
		t.Fatal(err)
	}
	if len(pieces) < 3 || pieces[len(pieces)-1] != "" || pieces[0] == "" {
		t.Fatalf("%q", pieces)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := r.Recommend(WithTokens(ctx, func(string) { cancel() }), query, 2); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
}

// What the command does beside the loop.
func TestShardsBatchesNewModelsMergesAndSentences(t *testing.T) {
	model := os.Getenv("CAUSERIE_TEST_MODEL")
	if model == "" {
		t.Skip("CAUSERIE_TEST_MODEL names no GGUF")
	}
	c, d, _ := loaded(t)
	ctx, folder := context.Background(), t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(c.Read("[synthesize]\nteacher = \"http\"\nmodel = \"some-model\"\n[select]\nbudget = 3\n[recommend]\ncontext_tokens = 256\n"))
	for index, left := range []int{1, 0} {
		missing, err := EmbedShard(ctx, d, c, folder, index, 2)
		must(err)
		if missing != left {
			t.Fatalf("%d shards are missing after %d", missing, index+1)
		}
	}
	missing, err := JoinShards(folder, 2)
	must(err)
	rows, err := OpenEmbeddings(folder + "/embeddings.json")
	must(err)
	defer rows.Close()
	if n, _ := rows.Shape(); n != d.Count(Reviews) || missing != 0 {
		t.Fatalf("%d rows, %d missing", n, missing)
	}
	seeds, err := Select(ctx, d, rows, nil, c)
	must(err)
	defer seeds.Close()
	requests, answered, err := ExportRequests(ctx, d, seeds, c, folder+"/journal.jsonl", folder+"/requests.jsonl")
	must(err)
	if requests == 0 || answered != 0 {
		t.Fatal("nothing to ask")
	}
	must(os.WriteFile(folder+"/answers.jsonl", []byte("{\"custom_id\": \"none\"}\n"), 0o600))
	if _, _, err := ImportAnswers(ctx, folder+"/journal.jsonl", folder+"/answers.jsonl"); err == nil {
		t.Fatal("a foreign answer was taken")
	}
	fresh, err := NewModel(ctx, d, 400_000, folder+"/fresh.gguf", "", c)
	must(err)
	defer fresh.Close()
	var failure *Error
	if _, err := MergeAdapter(ctx, fresh.File(), model, "f32", folder+"/merged.gguf"); !errors.As(err, &failure) {
		t.Fatalf("%v", err)
	}
	r, err := OpenLM(ctx, d, model, "", c)
	must(err)
	defer r.Close()
	var heard string
	hearing := WithTokens(ctx, func(text string) { heard += text })
	sentence, items, err := r.Say(hearing, Query{Turns: []Turn{{"user", "something funny"}}}, 3)
	must(err)
	if sentence == "" || heard != sentence || len(items) != 3 {
		t.Fatalf("%q %q %v", sentence, heard, items)
	}
}
