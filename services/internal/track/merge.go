package track

import "time"

// Merge adds what a report says to a trace.
func Merge(old *Trace, r Report, now time.Time) (t *Trace, changed bool) {
	panic("not built")
}
