package causerie

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"causerie/internal/arrow"
)

// A batch of 4,294,967,295 rows that hold nothing ended the process.
func TestABatchOfFourBillionNullRowsAbortedTheProcess(t *testing.T) {
	d, err := NewDataset(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, rows := range []int64{3, 1 << 20, 1<<32 - 1, 1<<63 - 1} {
		batch := arrow.Nulls(rows, "item", "title")
		if _, err := d.AddArrow(Items, batch.Schema(), batch.Array()); !errors.As(err, new(*Error)) || code(err) == Bug {
			t.Errorf("%d rows: %v", rows, err)
		}
		if !batch.Taken() {
			t.Errorf("a batch of %d rows was not released", rows)
		}
		batch.End()
	}
	if d.Count(Items) != 0 {
		t.Errorf("%d items", d.Count(Items))
	}
}

func TestArrowBatchesStreamsAndRowsAreReadCountedAndReleasedOnce(t *testing.T) {
	d, err := NewDataset(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ctx, before := context.Background(), arrow.Released()
	batch := arrow.Texts([]string{"item", "title"}, []string{"a", "b", ""}, []string{"A", "B", "C"})
	n, err := d.AddArrow(Items, batch.Schema(), batch.Array())
	if err != nil || n != 1 || d.Count(Items) != 2 || d.Title(1) != "B" || !batch.Taken() {
		t.Fatalf("%d dropped: %v", n, err)
	}
	if _, err := d.AddArrow(Items, batch.Schema(), batch.Array()); !errors.Is(err, &Error{Code: Invalid}) {
		t.Fatalf("a batch that was released: %v", err)
	}
	batch.End()
	stream := arrow.StreamOf(arrow.Texts([]string{"item", "title"}, []string{"c", "a"}, []string{"C", "A"}), false)
	if n, err = d.AddArrowStream(ctx, Items, stream.Pointer()); err != nil || n != 1 || d.Count(Items) != 3 || !stream.Taken() {
		t.Fatalf("%d dropped: %v", n, err)
	}
	stream.End()
	stream = arrow.StreamOf(arrow.Texts([]string{"item"}, []string{"d"}), true)
	if _, err = d.AddArrowStream(ctx, Items, stream.Pointer()); err == nil || !strings.Contains(err.Error(), "the source broke") || !stream.Taken() {
		t.Fatalf("%v", err)
	}
	stream.End()
	// Four columns and the batch, each of a schema and an array; three streams less one that gave its batch away.
	if now := arrow.Released() - before; now < 16 {
		t.Errorf("%d were released", now)
	}
	for _, wrong := range []func() error{
		func() error { _, err := d.AddArrow(Items, nil, nil); return err },
		func() error { _, err := d.AddArrowStream(ctx, Items, nil); return err },
		func() error { _, err := EmbeddingsFromArrow(nil, nil); return err },
		func() error { _, err := EmbeddingsFromArrowStream(nil); return err },
	} {
		refused(t, "NULL", wrong())
	}
	values := []float32{1, 0, 0, 1, 0.5, 0.5}
	rows := arrow.Rows(values, "2", 3)
	e, err := EmbeddingsFromArrow(rows.Schema(), rows.Array())
	if err != nil || !reflect.DeepEqual(e.Values(), values) || !rows.Taken() {
		t.Fatalf("%v", err)
	}
	rows.End()
	e.Close()
	stream = arrow.StreamOf(arrow.Rows([]float64{1, 0, 0, 1}, "2", 2), false)
	if e, err = EmbeddingsFromArrowStream(stream.Pointer()); err != nil || !reflect.DeepEqual(e.Row(1), []float32{0, 1}) || !stream.Taken() {
		t.Fatalf("%v", err)
	}
	stream.End()
	e.Close()
}
