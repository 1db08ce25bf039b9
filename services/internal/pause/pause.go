// Package pause waits between tries, and no longer than a context lasts. When to
// try again is the caller's business.
package pause

import (
	"context"
	"time"
)

// For waits for d. It returns an error only when the context ends before.
func For(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
