package causerie

/*
#include <causerie.h>
*/
import "C"

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
)

// Turn is one turn of a conversation: Role is "user" or "assistant".
type Turn struct {
	Role string `json:"role"`
	Text string `json:"text"`
}

// ItemName names an item by its id, by title and year (0: not known), or by all of them: then the id counts where it is in the
// catalogue, and else the title. In JSON it is an object, whose "id" may be called "item" or "imdb" as well, or a text that is an
// id or a title; other keys are errors.
type ItemName struct {
	Item  string `json:"item,omitempty"`
	Title string `json:"title,omitempty"`
	Year  int    `json:"year,omitempty"`
}

// UnmarshalJSON reads what the library and its server take.
func (n *ItemName) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil && string(data) != "null" {
		*n = ItemName{Item: text, Title: text}
		return nil
	}
	var read struct {
		ID, Item, IMDb, Title *string
		Year                  *int
	}
	if err := strictly(data, &read); err != nil {
		return fmt.Errorf("an item's name: %w; it is a text or {\"id\", \"title\", \"year\"}", err)
	}
	var name ItemName
	ids := 0
	for _, id := range []*string{read.ID, read.Item, read.IMDb} {
		if id != nil {
			name.Item = *id
			ids++
		}
	}
	if read.Title != nil {
		name.Title = *read.Title
	}
	if read.Year != nil {
		name.Year = *read.Year
	}
	if ids > 1 || ids == 0 && read.Title == nil {
		return invalid("an item is named by one id, a title, or both: %.80s", data)
	}
	*n = name
	return nil
}

// strictly reads one JSON value that has no other keys than those of v.
func strictly(data []byte, v any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	return decoder.Decode(v)
}

// Query is what a Recommender is asked, as a value: C's query is made of it for each call. What is named in the turns, seen,
// excluded or (where Allow is not nil) not allowed never comes back; an Allow that is empty and not nil allows nothing. In JSON,
// as in the server's, a key that is not known is an error.
type Query struct {
	Turns   []Turn     `json:"turns"`
	Seen    []ItemName `json:"seen,omitempty"`
	Exclude []string   `json:"exclude,omitempty"`
	Allow   *[]string  `json:"allow,omitempty"`
	// Reviews for each item, nearest to what was said; nil: as recommend.explain says.
	Explain *int `json:"explain,omitempty"`
	// The same as Exclude and Allow by rows (what ID takes), for lists that are long: no text is copied or looked up.
	ExcludeRows []uint64  `json:"-"`
	AllowRows   *[]uint64 `json:"-"`
}

// UnmarshalJSON reads an object, or the turns alone.
func (q *Query) UnmarshalJSON(data []byte) error {
	type plain Query
	read := struct {
		plain
		// A conversation may have a name; nobody is told it.
		ID string `json:"id"`
	}{}
	if data = bytes.TrimSpace(data); len(data) > 0 && data[0] == '[' {
		if err := strictly(data, &read.Turns); err != nil {
			return err
		}
	} else if err := strictly(data, &read); err != nil {
		return err
	}
	if read.Turns == nil {
		return invalid("a query has \"turns\": [{\"role\": \"user\", \"text\": \"…\"}, …]")
	}
	*q = Query(read.plain)
	return nil
}

// Asked is what a Recommender is asked: a Query, or a KeptQuery.
type Asked interface {
	// asked is the query for C, for one call.
	asked(l *loan) *C.causerie_query
}

// Each has queries of one kind asked in one call: AskMany(ctx, Each(queries), 10).
func Each[Q Asked](queries []Q) []Asked {
	if queries == nil {
		return nil
	}
	all := make([]Asked, len(queries))
	for i, q := range queries {
		all[i] = q
	}
	return all
}

func (q Query) asked(l *loan) *C.causerie_query {
	p := q.make(l)
	l.after = append(l.after, func() { C.causerie_query_free(p) })
	return p
}

// make is the query for C; causerie_query_free ends it. NULL where the loan failed.
func (q Query) make(l *loan) (p *C.causerie_query) {
	if l.err != nil {
		return nil
	}
	// C has no call for an id and a title, but its JSON has.
	both := false
	for _, seen := range q.Seen {
		both = both || seen.Item != "" && seen.Title != ""
		seen.check(l)
	}
	if l.err != nil {
		return nil
	}
	if both {
		text, err := json.Marshal(Query{Turns: []Turn{}, Seen: q.Seen})
		if err != nil {
			l.fail(err)
			return nil
		}
		request, n := bytesOf(text)
		l.fail(check(C.causerie_query_parse(request, n, &p)))
	} else {
		l.fail(check(C.causerie_query_new(&p)))
		for _, seen := range q.Seen {
			seen.add(l, p)
		}
	}
	defer func() {
		if l.err != nil {
			C.causerie_query_free(p)
			p = nil
		}
	}()
	for _, turn := range q.Turns {
		turn.add(l, p)
	}
	for _, id := range q.Exclude {
		if l.err == nil {
			text, n := bytesOf([]byte(id))
			l.fail(check(C.causerie_query_exclude(p, text, n)))
		}
	}
	if len(q.ExcludeRows) > 0 && l.err == nil {
		rows, n := rowsOf(q.ExcludeRows)
		l.fail(check(C.causerie_query_exclude_rows(p, rows, n)))
	}
	if (q.Allow != nil || q.AllowRows != nil) && l.err == nil {
		var allowed []uint64
		if q.AllowRows != nil {
			allowed = *q.AllowRows
		}
		rows, n := rowsOf(allowed)
		l.fail(check(C.causerie_query_allow_rows(p, rows, n)))
	}
	if q.Allow != nil {
		for _, id := range *q.Allow {
			if l.err == nil {
				text, n := bytesOf([]byte(id))
				l.fail(check(C.causerie_query_allow(p, text, n)))
			}
		}
	}
	if q.Explain != nil {
		if reviews := l.small("Explain", *q.Explain); l.err == nil {
			l.fail(check(C.causerie_query_explain(p, reviews)))
		}
	}
	return p
}

// add says a turn to a query.
func (t Turn) add(l *loan, p *C.causerie_query) {
	role := C.int32_t(C.CAUSERIE_USER)
	switch t.Role {
	case "user":
	case "assistant":
		role = C.CAUSERIE_ASSISTANT
	default:
		l.fail(invalid("a turn's role is %.80q; \"user\" or \"assistant\"", t.Role))
	}
	if l.err == nil {
		text, n := bytesOf([]byte(t.Text))
		l.fail(check(C.causerie_query_turn(p, role, text, n)))
	}
}

func (n ItemName) check(l *loan) {
	if n.Item == "" && n.Title == "" {
		l.fail(invalid("a seen item without id and title"))
	}
	l.small("the year of a seen item", n.Year)
}

// add puts an item among those that were seen, by its id or by its title.
func (n ItemName) add(l *loan, p *C.causerie_query) {
	if l.err != nil {
		return
	}
	if n.Item != "" {
		id, size := bytesOf([]byte(n.Item))
		l.fail(check(C.causerie_query_seen(p, id, size)))
		return
	}
	title, size := bytesOf([]byte(n.Title))
	l.fail(check(C.causerie_query_seen_title(p, title, size, C.uint32_t(n.Year))))
}

// KeptQuery is a query that is built once and asked often, and grows by a turn at a time with its conversation. Any recommender may
// be asked with it, from any number of goroutines at once; the methods that change it need it alone, and are Busy beside those.
type KeptQuery struct {
	h noun[*C.causerie_query]
}

func newKeptQuery(l *loan) *KeptQuery {
	k := &KeptQuery{}
	runtime.SetFinalizer(k, (*KeptQuery).Close)
	l.making(k.Close)
	return k
}

// Keep makes a kept query of a value.
func Keep(q Query) (*KeptQuery, error) {
	var l loan
	defer l.end()
	k := newKeptQuery(&l)
	k.h.p = q.make(&l)
	if l.err != nil {
		return nil, l.err
	}
	l.good = true
	return k, nil
}

// ParseQuery makes a kept query of JSON as the C library takes it: the turns, or {"turns": […], "seen": […], "exclude": […],
// "allow": […], "explain": n}.
func ParseQuery(request []byte) (*KeptQuery, error) {
	var l loan
	defer l.end()
	text, n := l.lines("bytes of the request", request)
	k := newKeptQuery(&l)
	if err := l.call(func() *C.causerie_error { return C.causerie_query_parse(text, n, &k.h.p) }); err != nil {
		return nil, err
	}
	return k, nil
}

func (k *KeptQuery) asked(l *loan) *C.causerie_query {
	if k == nil || k.h.p == nil {
		l.missing("query", k == nil)
		return nil
	}
	l.live = append(l.live, k)
	return k.h.p
}

// Turn adds the next turn. Alone.
func (k *KeptQuery) Turn(role, text string) error {
	var l loan
	defer l.end()
	p := k.asked(&l)
	Turn{role, text}.add(&l, p)
	return l.err
}

// Seen adds an item that the user has seen, by its id or by its title, not both. Alone.
func (k *KeptQuery) Seen(item ItemName) error {
	var l loan
	defer l.end()
	p := k.asked(&l)
	item.check(&l)
	if item.Item != "" && item.Title != "" {
		l.fail(invalid("a seen item of a kept query is named by its id or by its title; %.80q and %.80q are both", item.Item, item.Title))
	}
	item.add(&l, p)
	return l.err
}

// Exclude adds an item that must not come back, by its id. Alone.
func (k *KeptQuery) Exclude(id string) error {
	var l loan
	defer l.end()
	p := k.asked(&l)
	text, n := bytesOf([]byte(id))
	return l.call(func() *C.causerie_error { return C.causerie_query_exclude(p, text, n) })
}

// ExcludeRows adds items that must not come back, by their rows. Alone.
func (k *KeptQuery) ExcludeRows(rows []uint64) error {
	var l loan
	defer l.end()
	p := k.asked(&l)
	if rows == nil {
		l.fail(invalid("the rows are nil"))
	}
	first, n := rowsOf(rows)
	return l.call(func() *C.causerie_error { return C.causerie_query_exclude_rows(p, first, n) })
}

// Allow adds an item that may come back, by its id: from the first one on, nothing else may. Alone.
func (k *KeptQuery) Allow(id string) error {
	var l loan
	defer l.end()
	p := k.asked(&l)
	text, n := bytesOf([]byte(id))
	return l.call(func() *C.causerie_error { return C.causerie_query_allow(p, text, n) })
}

// AllowRows adds items that may come back, by their rows; an empty list alone allows nothing. Alone.
func (k *KeptQuery) AllowRows(rows []uint64) error {
	var l loan
	defer l.end()
	p := k.asked(&l)
	if rows == nil {
		l.fail(invalid("the rows are nil; []uint64{} allows nothing"))
	}
	first, n := rowsOf(rows)
	return l.call(func() *C.causerie_error { return C.causerie_query_allow_rows(p, first, n) })
}

// Explain has every item come with so many reviews of it, nearest to what was said. Alone.
func (k *KeptQuery) Explain(reviews int) error {
	var l loan
	defer l.end()
	p, n := k.asked(&l), l.small("Explain", reviews)
	return l.call(func() *C.causerie_error { return C.causerie_query_explain(p, n) })
}

// Clear empties the query, for the next conversation. Alone.
func (k *KeptQuery) Clear() error {
	var l loan
	defer l.end()
	p := k.asked(&l)
	return l.call(func() *C.causerie_error { return C.causerie_query_clear(p) })
}

// Close ends the query.
func (k *KeptQuery) Close() {
	if k == nil {
		return
	}
	k.h.lent.Lock()
	defer k.h.lent.Unlock()
	C.causerie_query_free(k.h.p)
	k.h.shut = true
}
