package client

import "iter"

// pages walks a list to its end, a page at a time as they are needed.
func pages[M, T any](op string, get func(token string) ([]M, string, error), convert func(M) T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for token := ""; ; {
			page, next, err := get(token)
			if err != nil {
				var none T
				yield(none, fail(op, err))
				return
			}
			for _, m := range page {
				if !yield(convert(m), nil) {
					return
				}
			}
			if next == "" {
				return
			}
			token = next
		}
	}
}

// toState finds the message's value for a state, 0 when it isn't one: the
// server refuses that.
func toState[M ~int32, S ~string](states map[M]S, s S) M {
	for m, name := range states {
		if name == s {
			return m
		}
	}
	return 0
}
