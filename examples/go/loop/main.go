// The whole loop in Go, with a teacher of our own: go run ./loop /tmp/somewhere
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"causerie"
)

const settings = `
[simulate]
items = 120
users = 300
reviews = 1500
conversations = 60
[embed]
dim = 32
user_dim = 16
[select]
budget = 60
[synthesize]
queries = 1
in_flight = 2
[tune]
head_epochs = 3
[evaluate]
bootstrap = 100
examples = 0
`

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	folder := "."
	if len(os.Args) > 1 {
		folder = os.Args[1]
	}
	in := func(name string) string { return filepath.Join(folder, name) }
	fmt.Println(causerie.Version())
	reports := 0
	ctx := causerie.WithProgress(context.Background(), func(causerie.Progress) { reports++ })
	config := must(causerie.NewConfig(settings))
	defer config.Close()

	// 1 load: a simulated domain here
	check(causerie.Simulate(ctx, config, folder))
	dataset := must(causerie.NewDataset(config))
	defer dataset.Close()
	dropped := must(dataset.AddFile(ctx, causerie.Items, in("items.jsonl")))
	dropped += must(dataset.AddFile(ctx, causerie.Reviews, in("reviews.jsonl")))
	dropped += must(dataset.Add(causerie.Interactions, must(os.ReadFile(in("interactions.csv")))))
	fmt.Printf("%d reviews, %d rows passed over\n", dataset.Count(causerie.Reviews), dropped)

	// 2 embed, 3 select
	embeddings := must(causerie.Embed(ctx, dataset, config, ""))
	defer embeddings.Close()
	selection := must(causerie.Select(ctx, dataset, embeddings, nil, config))
	defer selection.Close()
	rows, dim := embeddings.Shape()
	fmt.Printf("%d x %d, %d seeds\n", rows, dim, len(selection.Rows()))

	// 4 synthesize: the built-in teacher, then ours; a service would ask its LLM with r.Prompt
	dialogues := must(causerie.Synthesize(ctx, dataset, selection, config, 1, in("journal.jsonl")))
	defer dialogues.Close()
	teacher := func(_ context.Context, r causerie.Request) (causerie.Answer, error) {
		if r.Kind == causerie.AskQuery {
			return causerie.Answer{Text: fmt.Sprintf("1. I would like something moving for evening number %d, not too long.", r.Seed%1000)}, nil
		}
		var b strings.Builder
		items := dataset.Count(causerie.Items)
		for i := 0; i < 20; i++ {
			fmt.Fprintf(&b, "%d. %s\n", i+1, dataset.Title(int(r.Seed+uint64(i)*7)%items))
		}
		return causerie.Answer{Text: b.String()}, nil
	}
	ours := must(causerie.SynthesizeWith(ctx, dataset, selection, "example", teacher, config, 1, ""))
	check(dialogues.Add(ours))
	fmt.Printf("%d dialogues, %d of them ours\n", dialogues.Len(), ours.Len())
	ours.Close()

	// 5 tune, 6 recommend
	model := must(causerie.Tune(ctx, dialogues, dataset, embeddings, config))
	defer model.Close()
	tuned := must(causerie.NewRecommender(ctx, dataset, embeddings, model, nil, config))
	defer tuned.Close()
	query := causerie.Query{Turns: []causerie.Turn{{Role: "user", Text: "I would like something moving and funny"}}}
	reply := must(tuned.Ask(ctx, query, 5))
	fmt.Println(reply.Text)
	for _, warning := range reply.Warnings {
		fmt.Println("warning:", warning)
	}
	// A query that is kept grows by a turn at a time.
	kept := must(causerie.Keep(query))
	defer kept.Close()
	check(kept.Turn("assistant", reply.Text))
	check(kept.Turn("user", "Something quieter, please"))
	check(kept.Seen(causerie.ItemName{Item: reply.Items[0].Item}))
	for _, r := range must(tuned.Recommend(ctx, kept, 5)) {
		fmt.Printf("  %s  %.3f\n", r.Title, r.Score)
	}
	// Any number of goroutines at once.
	var group sync.WaitGroup
	for i := 0; i < 8; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			must(tuned.Recommend(context.Background(), kept, 5))
		}()
	}
	group.Wait()

	// 7 evaluate
	check(config.Set("recommend.system", "popularity"))
	popularity := must(causerie.NewRecommender(ctx, dataset, nil, nil, nil, config))
	defer popularity.Close()
	conversations := must(os.ReadFile(in("conversations.jsonl")))
	report := must(causerie.Evaluate(ctx, []*causerie.Recommender{tuned, popularity}, conversations, config))
	defer report.Close()
	mean, se, err := report.Metric(0, "recall@10")
	check(err)
	fmt.Printf("Recall@10 %.3f +- %.3f, %d reports of progress\n", mean, se, reports)

	// A context that ends ends the call; errors have codes.
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := causerie.Embed(ended, dataset, config, ""); !errors.Is(err, context.Canceled) {
		log.Fatalf("a cancelled context gave %v", err)
	}
	var e *causerie.Error
	if err := config.Set("select.bugdet", "5"); !errors.As(err, &e) || e.Code != causerie.Invalid {
		log.Fatalf("an unknown setting gave %v", err)
	}
}
