//go:build go1.20

package causerie

import (
	"context"
	"errors"
	"testing"
)

func TestTheCauseOfAContextIsKept(t *testing.T) {
	c, d, _ := loaded(t)
	why := errors.New("the caller hung up")
	ctx, cancel := context.WithCancelCause(context.Background())
	_, err := Embed(WithProgress(ctx, func(Progress) { cancel(why) }), d, c, "")
	if !errors.Is(err, why) || !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
	if _, err := Embed(ctx, d, c, ""); !errors.Is(err, why) {
		t.Fatalf("%v", err)
	}
}
