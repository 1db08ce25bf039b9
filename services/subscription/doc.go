// Package subscription is the service that knows who wants to hear of which
// waybill. Its control plane manages endpoints and subscriptions over gRPC; its
// matcher turns changes of waybills into pushes for delivery. It neither sends
// pushes nor decides what a trace is.
//
// # The matcher
//
// Matching is divided into shards by the waybill's slot. A shard is owned by a
// lease in PostgreSQL and worked on by one goroutine, which alone writes
// pushed_revision and clears announce of the shard's rows. It does three things,
// one at a time:
//
//   - Changes: a batch of the TRACE stream. Every active subscription to one of
//     its waybills with a pushed_revision below the trace's gets one push of the
//     range between. Paused ones are passed over.
//   - Announcements: rows whose announce is true, because they were made or
//     resumed. The waybill's newest trace is read, and pushed if it is above
//     pushed_revision.
//   - Ends: subscriptions complete or expire.
//
// The order is always: publish to PUSH, record in PostgreSQL, acknowledge TRACE.
//
// # No gap, no double
//
// A subscription is made, or resumed, with announce set in the same transaction,
// while changes to its waybill stream in. Take any change:
//
//   - Its batch looked for subscriptions after that commit: the row was seen, the
//     change pushed, and pushed_revision says so. The announcement that follows
//     reads pushed_revision and covers only what came after it, usually nothing.
//   - Its batch looked before the commit: the row was not seen, or was paused. But
//     the change was in the stream before its batch was worked on, so the
//     announcement, which comes after the commit, reads it or something newer.
//
// Since one goroutine does both, neither can look between the other's reading
// and recording. Handling changes never clears announce, so it can't clear one
// that a resumption has just set; an announcement clears it, and whatever is
// stored after its reading of the stream is handled after it as a change.
//
// In a cluster a replica may answer a reading late. The matcher remembers the
// sequence of each change it worked on lately; an announcement that reads an
// older one is put off until the next sweep. Only in the first moments after a
// take-over is there nothing to remember.
//
// # Failures
//
//   - A crash between publishing and recording: the TRACE messages come again,
//     and the same push with the same id, or a wider range from the same revision,
//     is published once more. Delivery and receivers take both for what they are.
//   - A lost lease: recording fails, since it checks the lease's epoch. What was
//     published by then is repeated by the next owner as above.
//   - PostgreSQL, TRACE or PUSH away, or PUSH full: the batch is tried again until
//     it succeeds; nothing is acknowledged meanwhile, and the order is kept.
//   - A notification that gets lost: a sweep every few seconds looks without one.
//   - A message that can't be read stays in TRACE, is logged and counted; the next
//     change of the waybill covers it.
package subscription
