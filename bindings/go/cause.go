//go:build go1.20

package causerie

import "context"

// causeOf is why a context ended.
func causeOf(ctx context.Context) error { return context.Cause(ctx) }
