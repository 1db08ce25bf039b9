// Package erasure is the service that erases personal data: of one waybill when
// somebody asks, and of all when their time is over.
//
// # One waybill
//
// A request is a row, written with its entry in the audit log. Whoever holds the
// lease asks, through RAW, for the trace to be erased: the normalizer, which alone
// writes TRACE, does it as a revision, so that the chain goes on and every projection
// and subscriber follows. The erased trace is its own tombstone. Then what was made
// of the trace before is erased: bodies of pushes that wait, answers of endpoints,
// rejected reports. What was under way meanwhile may bring a body back; so it is
// looked again until nothing that old can be under way. Every step may be repeated.
//
// Raw traces aren't erased: their stream, the only copy of what isn't normalized yet,
// takes no deletes. They leave it by age.
//
// # Retention
//
// Traces that didn't change for long lose their texts and keep what statistics are
// made of. Those that left TRACE are rewritten where they are, in PostgreSQL; those
// that are still in it are erased as above. Nothing that is owed is ever dropped.
package erasure
