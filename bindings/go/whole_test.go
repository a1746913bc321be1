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
)

// What C has and Go had not: save and load of every noun, reports, kept queries, many scores, texts of replies.
func TestEveryNounIsSavedLoadedAndReported(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	reports := func(what string, report func() (string, error), has string) {
		t.Helper()
		text, err := report()
		if err != nil || !json.Valid([]byte(text)) || !strings.Contains(text, has) {
			t.Errorf("%s: %v %s", what, err, text)
		}
	}
	dataset, err := LoadDataset(w.in("dataset"), w.config)
	must(err)
	defer dataset.Close()
	if dataset.Count(Items) != w.dataset.Count(Items) || dataset.Title(5) != w.dataset.Title(5) || dataset.Title(5) == "" {
		t.Error("another dataset was loaded")
	}
	reports("dataset", w.dataset.Report, `"bad_lines"`)
	selection, err := LoadSelection(w.in("selection.jsonl"))
	must(err)
	defer selection.Close()
	if !reflect.DeepEqual(selection.Rows(), w.selection.Rows()) || !reflect.DeepEqual(selection.Gains(), w.selection.Gains()) || len(selection.Gains()) != 8 {
		t.Error("another selection was loaded")
	}
	reports("selection", w.selection.Report, `"objective"`)
	reports("loaded selection", selection.Report, "{}")
	rows, err := OpenEmbeddings(w.in("embeddings.safetensors"))
	must(err)
	defer rows.Close()
	n, dim := w.embeddings.Shape()
	if a, b := rows.Shape(); a != n || b != dim || rows.Values() != nil || len(w.embeddings.Values()) != n*dim {
		t.Errorf("%d x %d", a, b)
	}
	dialogues, dropped, err := LoadDialogues(w.in("dialogues.jsonl"))
	must(err)
	defer dialogues.Close()
	lines, err := os.ReadFile(w.in("dialogues.jsonl"))
	must(err)
	parsed, bad, err := ParseDialogues(append(lines, "no dialogue\n"...))
	must(err)
	defer parsed.Close()
	if dropped != 0 || bad != 1 || dialogues.Len() != w.dialogues.Len() || parsed.JSON(0) != w.dialogues.JSON(0) || parsed.JSON(0) == "" {
		t.Errorf("%d and %d dropped, %d of %d", dropped, bad, dialogues.Len(), w.dialogues.Len())
	}
	reports("dialogues", w.dialogues.Report, `"`)
	reports("parsed dialogues", parsed.Report, `"bad_lines":1`)
	head, err := LoadModel(w.in("head"))
	must(err)
	defer head.Close()
	reports("model", w.model.Report, `"`)
	reports("loaded model", head.Report, "{}")
	reports("evaluation", w.report.JSON, `"evaluations"`)
	if page, err := w.report.HTML(); err != nil || !strings.Contains(page, "<html") {
		t.Errorf("%v %.200s", err, page)
	}
	if value, err := w.config.Get("recommend.system"); err != nil || value != `"popularity"` {
		t.Errorf("%s %v", value, err)
	}
	if _, err := w.config.Get("recommend.sytem"); !errors.Is(err, &Error{Code: Invalid}) {
		t.Errorf("%v", err)
	}
	if ABI() < 2 || Version() == "" || !strings.HasPrefix(w.recommender.Name(), "popularity") {
		t.Errorf("%d %s %s", ABI(), Version(), w.recommender.Name())
	}

	must(w.config.Set("recommend.system", "head"))
	r, err := NewRecommender(ctx, dataset, w.embeddings, head, nil, w.config)
	must(err)
	defer r.Close()
	value := Query{Turns: []Turn{{"user", "something funny"}}, Seen: []ItemName{{Item: r.ID(3)}}, Exclude: []string{r.ID(4)}}
	kept, err := Keep(value)
	must(err)
	defer kept.Close()
	reply, err := r.Ask(ctx, value, 5)
	must(err)
	same, err := r.Ask(ctx, kept, 5)
	must(err)
	if !reflect.DeepEqual(reply, same) || len(reply.Items) != 5 {
		t.Errorf("%v %v", reply, same)
	}
	var items []struct {
		Item string
		Year *int
	}
	must(json.Unmarshal([]byte(reply.JSON), &items))
	first := reply.Items[0]
	if items[0].Item != first.Item || items[0].Year == nil || *items[0].Year != first.Year || first.Year < 1900 ||
		!strings.HasPrefix(reply.Text, "1. "+first.Title+"\n2. ") || first.Item != r.ID(int(first.Row)) {
		t.Errorf("%v", reply)
	}
	// A conversation grows, and is cleared for the next.
	must(kept.Turn("assistant", reply.Text))
	must(kept.Turn("user", "another one"))
	must(kept.Explain(0))
	later, err := r.Recommend(ctx, kept, 5)
	must(err)
	for _, one := range later {
		for _, before := range reply.Items {
			if one.Item == before.Item {
				t.Errorf("%s was named, and came back", one.Title)
			}
		}
	}
	must(kept.Clear())
	must(kept.AllowRows([]uint64{1, 2}))
	must(kept.Allow(r.ID(3)))
	must(kept.ExcludeRows([]uint64{1}))
	must(kept.Exclude(r.ID(2)))
	must(kept.Seen(ItemName{Title: "nowhere", Year: 1950}))
	if left, _, err := r.Rank(ctx, kept, 5); err != nil || !reflect.DeepEqual(left, []uint64{3}) {
		t.Errorf("%v %v", left, err)
	}
	refused(t, "role", kept.Turn("system", "x"))
	refused(t, "seen by two names", kept.Seen(ItemName{Item: "a", Title: "b"}))
	refused(t, "nil rows", kept.AllowRows(nil))
	scores, err := r.ScoreMany(ctx, []Asked{value, kept})
	must(err)
	alone, err := r.Score(ctx, value)
	must(err)
	if len(scores) != 2 || len(scores[1]) != r.Len() || !math.IsInf(float64(scores[1][1]), -1) || math.IsInf(float64(scores[1][3]), -1) {
		t.Errorf("%v", scores)
	}
	for i := range alone {
		if d := math.Abs(float64(alone[i] - scores[0][i])); d > 1e-4 && !math.IsInf(float64(alone[i]), -1) {
			t.Errorf("item %d: %v and %v", i, alone[i], scores[0][i])
		}
	}
	replies, err := r.AskMany(ctx, []Asked{value, kept}, 5)
	must(err)
	if len(replies) != 2 || len(replies[1].Items) != 1 || replies[0].Text == "" {
		t.Errorf("%v", replies)
	}
	if n, err := r.Add(ctx, []byte("{\"item\": \"new\", \"title\": \"New\"}\n{\"item\": \"new\", \"title\": \"New\"}\n")); err != nil || n != 1 {
		t.Errorf("%d dropped: %v", n, err)
	}
	if row, err := r.Find("new"); err != nil || int(row) != r.Len()-1 {
		t.Errorf("%d %v", row, err)
	}
}

func TestAWorkDirectoryIsMadeResumedAndOpened(t *testing.T) {
	ctx, folder := context.Background(), t.TempDir()
	c, err := NewConfig("[simulate]\nitems = 60\nusers = 200\nreviews = 600\nconversations = 40\n[embed]\ndim = 16\nuser_dim = 8\n" +
		"[pipeline]\nstrategies = [\"random\"]\nbudget = 20\nrounds = 1\nnaive = false\n[evaluate]\nbootstrap = 100\n" +
		"[tune]\nmethod = \"head\"\n[recommend]\nexplain = 1\n")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := Simulate(ctx, c, folder); err != nil {
		t.Fatal(err)
	}
	for key, file := range map[string]string{
		"dataset.items": "items.jsonl", "dataset.reviews": "reviews.jsonl", "dataset.interactions": "interactions.csv",
		"evaluate.conversations": "conversations.jsonl",
	} {
		if err := c.Set(key, filepath.Join(folder, file)); err != nil {
			t.Fatal(err)
		}
	}
	work := filepath.Join(folder, "work")
	for i := 0; i < 2; i++ {
		report, err := Pipeline(ctx, c, work, false)
		if err != nil {
			t.Fatal(err)
		}
		report.Close()
	}
	r, err := OpenRecommender(ctx, work, "", c)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	long := strings.Repeat("something funny and moving for a long evening ", 20000)
	reply, err := r.Ask(ctx, Query{Turns: []Turn{{"user", long}}, Exclude: []string{"gone"}}, 3)
	if err != nil || len(reply.Items) != 3 || !reply.Truncated || reply.Partial || len(reply.Warnings) < 2 || len(reply.Items[0].Reasons) != 1 {
		t.Fatalf("%v %.2000v", err, reply)
	}
}

// A language model whose time was up gave an empty answer, and no word of it.
func TestAnAnswerWhoseTimeWasUpSaysThatItIsPartial(t *testing.T) {
	ctx, r := context.Background(), model(t, "[recommend]\ncontext_tokens = 256\ntimeout_ms = 1\n")
	reply, err := r.Ask(ctx, Query{Turns: []Turn{{"user", "something funny"}}}, 5)
	if err != nil || !reply.Partial {
		t.Fatalf("%v %v", err, reply)
	}
}
