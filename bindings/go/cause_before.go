//go:build !go1.20

package causerie

import "context"

// causeOf is why a context ended: before Go 1.20 a context tells no more than its error.
func causeOf(ctx context.Context) error { return ctx.Err() }
