// Package fault holds faults that are planted in Posthaste to see whether the
// ledger finds them, and the points at which a program can be made to crash.
//
// A program has them only when it is built with the tag "faults". Then
// POSTHASTE_FAULT names the one planted fault that it has, by the names in
// [Planted], and POSTHASTE_CRASH the point at which it kills itself, such as
// "deliver.after_2xx@3": when that line is reached for the third time. Without
// the tag all are constants, false, and the compiler leaves nothing of them.
package fault

// Planted are the names of the planted faults, and what each does wrong.
var Planted = map[string]string{
	"ack-before-publish":    "ingest answers success before the event is on disk",
	"no-fsync":              "the streams are synced every two minutes and not before an acknowledgement",
	"dropped-park":          "a push that failed is not kept in a row",
	"skipped-revision":      "now and then a change is recorded as pushed, and isn't",
	"retry-id":              "a retry has another id",
	"lost-projection":       "now and then a trace update isn't projected",
	"match-before-commit":   "a change is recorded and acknowledged before its pushes are stored",
	"normalizer-acks-first": "raw traces are acknowledged before the trace is stored",
	"cancel-unchecked":      "what is owed to a cancelled subscription is still sent",
	"body-rerendered":       "each attempt encodes the body anew",
	"out-of-order":          "pushes go on past one of the same subscription that failed",
	"stale-signature":       "every attempt is signed with the time of the program's start",
	"gone-ignored":          "410 is repeated as any other failure",
	"signature-unchecked":   "a source's push is taken in whatever its signature",
	"repeats-acknowledged":  "now and then an acknowledged push is sent again",
	"wrong-tenant":          "now and then a push names another tenant",
}

// Points are the names of the crash points, in the order of the data path.
var Points = []string{
	"ingest.parsed", "ingest.published", "ingest.answered",
	"norm.received", "norm.merged", "norm.published", "norm.acked",
	"match.read", "match.published", "match.recorded", "match.acked", "announce.published",
	"deliver.taken", "deliver.before_send", "deliver.after_answer", "deliver.before_commit", "deliver.committed", "deliver.acked",
	"project.before", "project.written",
}
