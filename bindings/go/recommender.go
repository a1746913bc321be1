package causerie

/*
#include <causerie.h>
*/
import "C"

import (
	"context"
	"errors"
	"runtime"
	"unsafe"
)

// Recommendation is one item of an answer.
type Recommendation struct {
	// Title is "Title (1999)"; Year is 0 where it is not known.
	Item, Title string
	Year        int
	Score       float64
	// Row is the item's row in the catalogue: what ID takes, and AllowRows and ExcludeRows.
	Row uint64 `json:"-"`
	// Reasons are reviews that speak for the item, where recommend.explain or the query asks for them.
	Reasons []Reason
}

// Reason is an excerpt of a review and its cosine to the query.
type Reason struct {
	Text       string
	Similarity float64
	// Review is its row in the dataset.
	Review uint64 `json:"-"`
}

// Reply is what came of a query: its items, best first, and what is to be said of them.
type Reply struct {
	Items []Recommendation
	// Partial: the time was up before the search was (recommend.timeout_ms), and these are the items found by then.
	Partial bool
	// Truncated: the conversation was longer than what the recommender reads, which is its latest part.
	Truncated bool
	// Warnings name what is not in the catalogue, what was cut, what is missing.
	Warnings []string
	// Text is the answer to show: "1. Title (1999)" a line.
	Text string
	// JSON is [{"item", "title", "year", "score"}, …], best first; with reasons each has "evidence".
	JSON string
}

// Recommender ranks the catalogue for a conversation. All methods may run in any number of goroutines at once, Add too; of two
// Adds at once one may be Busy.
type Recommender struct {
	h noun[*C.causerie_recommender]
}

func newRecommender(l *loan) *Recommender {
	r := &Recommender{}
	runtime.SetFinalizer(r, (*Recommender).Close)
	l.making(r.Close)
	return r
}

// need is the handle for C.
func (r *Recommender) need(l *loan) *C.causerie_recommender {
	if r == nil || r.h.p == nil {
		l.missing("recommender", r == nil)
		return nil
	}
	l.live = append(l.live, r)
	return r.h.p
}

// OpenRecommender opens a work directory that Pipeline (or `causerie run`) finished; strategy "" is the first one of its run.
func OpenRecommender(ctx context.Context, workDir, strategy string, c *Config) (*Recommender, error) {
	var l loan
	defer l.end()
	w, s, config, r := l.name("folder", workDir), l.name("strategy", strategy), c.lend(&l), newRecommender(&l)
	err := l.under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_recommender_open(w, s, config, run, &r.h.p)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// NewRecommender makes one of what the stages made, by recommend.system; what that does not need may be nil.
func NewRecommender(ctx context.Context, d *Dataset, e *Embeddings, m *Model, t *Dialogues, c *Config) (*Recommender, error) {
	var l loan
	defer l.end()
	dataset, embeddings, model, dialogues := d.need(&l), e.lend(&l), m.lend(&l), t.lend(&l)
	config, r := c.lend(&l), newRecommender(&l)
	err := l.under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_recommender_new(dataset, embeddings, model, dialogues, config, run, &r.h.p)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// OpenLM opens a language model over the catalogue of d; adapter "" is none.
func OpenLM(ctx context.Context, d *Dataset, gguf, adapter string, c *Config) (*Recommender, error) {
	var l loan
	defer l.end()
	dataset, g, a := d.need(&l), l.name("model", gguf), l.name("adapter", adapter)
	config, r := c.lend(&l), newRecommender(&l)
	err := l.under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_recommender_open_lm(dataset, g, a, config, run, &r.h.p)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Len is the number of items that it ranks.
func (r *Recommender) Len() int {
	if r == nil {
		return 0
	}
	defer runtime.KeepAlive(r)
	return int(C.causerie_recommender_count(r.h.p))
}

// ID is the id of item row i; "" past the end.
func (r *Recommender) ID(i int) string {
	if r == nil || i < 0 {
		return ""
	}
	r.h.lent.RLock()
	defer r.h.lent.RUnlock()
	return C.GoString(C.causerie_recommender_id(r.h.p, C.size_t(i)))
}

// Name is what reports call it: "head", "nbcrs", …
func (r *Recommender) Name() string {
	if r == nil {
		return ""
	}
	r.h.lent.RLock()
	defer r.h.lent.RUnlock()
	return C.GoString(C.causerie_recommender_name(r.h.p))
}

// Find is the row of the item of an id; NotFound where there is none.
func (r *Recommender) Find(id string) (uint64, error) {
	var l loan
	defer l.end()
	p := r.need(&l)
	text, n := bytesOf([]byte(id))
	var row C.uint64_t
	err := l.call(func() *C.causerie_error { return C.causerie_recommender_find(p, text, n, &row) })
	return uint64(row), err
}

// Recommend answers a query with its topK best items; 0 takes recommend.top_k.
func (r *Recommender) Recommend(ctx context.Context, q Asked, topK int) (items []Recommendation, err error) {
	err = r.replies(ctx, []Asked{q}, topK, func(_ int, reply *C.causerie_reply) {
		items = itemsOf(reply)
	})
	return items, err
}

// Ask answers a query as Recommend does, and says what there is to say of the answer.
func (r *Recommender) Ask(ctx context.Context, q Asked, topK int) (answer Reply, err error) {
	err = r.replies(ctx, []Asked{q}, topK, func(_ int, reply *C.causerie_reply) {
		answer = replyOf(reply)
	})
	return answer, err
}

// RecommendMany answers several queries in one call, which costs less than as many calls. A score may differ in its last digits
// from that of the query alone: sums are taken in another order.
func (r *Recommender) RecommendMany(ctx context.Context, queries []Asked, topK int) ([][]Recommendation, error) {
	answers := make([][]Recommendation, len(queries))
	err := r.replies(ctx, queries, topK, func(i int, reply *C.causerie_reply) {
		answers[i] = itemsOf(reply)
	})
	if err != nil {
		return nil, err
	}
	return answers, nil
}

// AskMany answers several queries in one call as RecommendMany does, and says what there is to say of each answer.
func (r *Recommender) AskMany(ctx context.Context, queries []Asked, topK int) ([]Reply, error) {
	answers := make([]Reply, len(queries))
	err := r.replies(ctx, queries, topK, func(i int, reply *C.causerie_reply) {
		answers[i] = replyOf(reply)
	})
	if err != nil {
		return nil, err
	}
	return answers, nil
}

// Rank answers a query by rows and scores alone, for who keeps a catalogue of their own: no text is made or copied.
func (r *Recommender) Rank(ctx context.Context, q Asked, topK int) (rows []uint64, scores []float64, err error) {
	err = r.replies(ctx, []Asked{q}, topK, func(_ int, reply *C.causerie_reply) {
		var n C.size_t
		at, score := C.causerie_reply_rows(reply, &n), C.causerie_reply_scores(reply, &n)
		if n > 0 {
			rows = append(rows, unsafe.Slice((*uint64)(unsafe.Pointer(at)), int(n))...)
			scores = append(scores, unsafe.Slice((*float64)(unsafe.Pointer(score)), int(n))...)
		}
	})
	return rows, scores, err
}

// Say answers a query, and says a sentence about the best items in the language model's own words: it names items of the
// answer and nothing else of the catalogue. WithTokens hears it while it is written.
func (r *Recommender) Say(ctx context.Context, q Asked, topK int) (sentence string, items []Recommendation, err error) {
	var l loan
	defer l.end()
	p, k, queries := r.need(&l), l.small("topK", topK), l.queries([]Asked{q})
	replies := l.replies(1)
	err = l.under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_recommend_query(p, *queries, k, run, replies)
	})
	if err != nil {
		return "", nil, err
	}
	var said *C.char
	err = l.under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_recommender_say(p, *queries, *replies, run, &said)
	})
	if err != nil {
		return "", nil, err
	}
	return C.GoString(said), itemsOf(*replies), nil
}

// Score scores the whole catalogue in the order of ID; -Inf for what the query masks.
func (r *Recommender) Score(ctx context.Context, q Asked) ([]float32, error) {
	scores, _, err := r.scores(ctx, []Asked{q})
	return scores, err
}

// ScoreMany scores the whole catalogue for several queries in one call: a row for each of them.
func (r *Recommender) ScoreMany(ctx context.Context, queries []Asked) ([][]float32, error) {
	scores, items, err := r.scores(ctx, queries)
	if err != nil {
		return nil, err
	}
	rows := make([][]float32, len(queries))
	for i := range rows {
		rows[i] = scores[i*items : (i+1)*items : (i+1)*items]
	}
	return rows, nil
}

// scores is [queries, items], row-major, and the number of items.
func (r *Recommender) scores(ctx context.Context, queries []Asked) ([]float32, int, error) {
	var l loan
	defer l.end()
	p, handles := r.need(&l), l.queries(queries)
	// Items may join between the count and the call: then once more.
	for retried := false; ; retried = true {
		items := r.Len()
		scores := make([]float32, items*len(queries))
		var first *C.float
		if len(scores) > 0 {
			first = (*C.float)(unsafe.Pointer(&scores[0]))
		}
		err := l.under(ctx, func(run *C.causerie_run) *C.causerie_error {
			if len(queries) == 1 {
				return C.causerie_score_query(p, *handles, run, first, C.size_t(len(scores)))
			}
			return C.causerie_score_many(p, handles, C.size_t(len(queries)), run, first, C.size_t(len(scores)))
		})
		if err == nil {
			return scores, items, nil
		}
		if retried || r.Len() == items || !errors.Is(err, &Error{Code: Invalid}) {
			return nil, 0, err
		}
	}
}

// queries are several queries for C, in memory of C.
func (l *loan) queries(queries []Asked) **C.causerie_query {
	if queries == nil {
		l.fail(invalid("the queries are nil"))
	}
	handles := (**C.causerie_query)(l.list(len(queries)))
	for i, q := range queries {
		unset, pointed := q.(*Query)
		if q == nil || pointed && unset == nil {
			l.fail(invalid("query %d is nil", i))
		} else if l.err == nil {
			unsafe.Slice(handles, len(queries))[i] = q.asked(l)
		}
	}
	return handles
}

// replies is room for so many, all of which are freed behind the call.
func (l *loan) replies(count int) **C.causerie_reply {
	replies := (**C.causerie_reply)(l.list(count))
	l.after = append(l.after, func() {
		for _, reply := range unsafe.Slice(replies, count) {
			C.causerie_reply_free(reply)
		}
	})
	return replies
}

// replies hands each reply to read, and ends it.
func (r *Recommender) replies(ctx context.Context, queries []Asked, topK int, read func(int, *C.causerie_reply)) error {
	var l loan
	defer l.end()
	p, k, handles := r.need(&l), l.small("topK", topK), l.queries(queries)
	replies := l.replies(len(queries))
	err := l.under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_recommend_many(p, handles, C.size_t(len(queries)), k, run, replies)
	})
	if err != nil {
		return err
	}
	for i, reply := range unsafe.Slice(replies, len(queries)) {
		read(i, reply)
	}
	return nil
}

// itemsOf copies the items of a reply.
func itemsOf(reply *C.causerie_reply) []Recommendation {
	var n C.size_t
	first := C.causerie_reply_rows(reply, &n)
	rows := unsafe.Slice((*uint64)(unsafe.Pointer(first)), int(n))
	items := make([]Recommendation, len(rows))
	for i := range items {
		var score C.double
		id := C.causerie_reply_item(reply, C.size_t(i), &score)
		title := C.causerie_reply_title(reply, C.size_t(i))
		item := Recommendation{Item: C.GoString(id), Title: C.GoString(title), Score: float64(score), Row: rows[i]}
		item.Year = int(C.causerie_reply_year(reply, C.size_t(i)))
		for k := C.size_t(0); ; k++ {
			var similarity C.double
			text := C.causerie_reply_evidence(reply, C.size_t(i), k, &similarity)
			if text == nil {
				break
			}
			review := uint64(C.causerie_reply_evidence_row(reply, C.size_t(i), k))
			item.Reasons = append(item.Reasons, Reason{C.GoString(text), float64(similarity), review})
		}
		items[i] = item
	}
	return items
}

// replyOf copies all of a reply.
func replyOf(reply *C.causerie_reply) (answer Reply) {
	answer.Items, answer.JSON = itemsOf(reply), C.GoString(C.causerie_reply_json(reply))
	answer.Text = C.GoString(C.causerie_reply_text(reply))
	answer.Partial = C.causerie_reply_partial(reply) != 0
	answer.Truncated = C.causerie_reply_truncated(reply) != 0
	for i := C.size_t(0); ; i++ {
		warning := C.causerie_reply_warning(reply, i)
		if warning == nil {
			return answer
		}
		answer.Warnings = append(answer.Warnings, C.GoString(warning))
	}
}

// Add adds items (JSON lines) to a recommender that serves, and counts those that were passed over because their id stands there
// twice; other calls may run beside it.
func (r *Recommender) Add(ctx context.Context, lines []byte) (dropped int, err error) {
	var l loan
	defer l.end()
	p := r.need(&l)
	text, n := l.lines("lines", lines)
	var left C.size_t
	err = l.under(ctx, func(run *C.causerie_run) *C.causerie_error {
		return C.causerie_recommender_add(p, text, n, run, &left)
	})
	return int(left), err
}

// Bytes is about how much memory it holds.
func (r *Recommender) Bytes() uint64 {
	if r == nil {
		return 0
	}
	defer runtime.KeepAlive(r)
	return uint64(C.causerie_recommender_bytes(r.h.p))
}

// Generation is the number of the adapters that serve, of a language model.
func (r *Recommender) Generation() (uint64, error) {
	var l loan
	defer l.end()
	p := r.need(&l)
	var n C.uint64_t
	err := l.call(func() *C.causerie_error { return C.causerie_recommender_generation(p, &n) })
	return uint64(n), err
}

// SwapAdapter puts another adapter ("" for none) in the place of generation expected, while requests are answered; the new number.
// Invalid where somebody else exchanged them meanwhile.
func (r *Recommender) SwapAdapter(expected uint64, adapter string, scale float32) (uint64, error) {
	var l loan
	defer l.end()
	p, a := r.need(&l), l.name("adapter", adapter)
	var n C.uint64_t
	err := l.call(func() *C.causerie_error {
		return C.causerie_recommender_swap_adapter(p, C.uint64_t(expected), a, C.float(scale), &n)
	})
	return uint64(n), err
}

// RollBack puts the adapters before generation expected back, under a new number.
func (r *Recommender) RollBack(expected uint64) (uint64, error) {
	var l loan
	defer l.end()
	p := r.need(&l)
	var n C.uint64_t
	err := l.call(func() *C.causerie_error { return C.causerie_recommender_roll_back(p, C.uint64_t(expected), &n) })
	return uint64(n), err
}

// Close ends the recommender; calls under way go on to their end.
func (r *Recommender) Close() {
	if r == nil {
		return
	}
	r.h.lent.Lock()
	defer r.h.lent.Unlock()
	C.causerie_recommender_free(r.h.p)
	r.h.shut = true
}
