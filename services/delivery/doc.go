// Package delivery is the service that pushes changes to endpoints until they
// are acknowledged.
//
// # Lanes
//
// Delivery is divided into shards by the endpoint's slot. A shard is owned by a
// lease in PostgreSQL and run by one goroutine, which decides everything about
// its endpoints; attempts, commits and reads of PostgreSQL run beside it and
// report back. Each endpoint is a lane: bounded, with a limit of attempts in
// flight, and never two of one subscription.
//
// A lane is open or held. Open, a push goes from the stream to the endpoint. A
// push that fails becomes a row of what its subscription is owed, and later
// pushes of that subscription go to the row too, until it is settled; the others
// of the lane go on. After several failures in a row, or when the endpoint is
// paused, gone or too slow, the lane is held: all goes to rows, and one row at a
// time probes. When a probe is acknowledged the rows are drained, with more in
// flight each time, and when what is left is little, the lane opens.
//
// # The ordering rule
//
// A push may become a row only when no older push of its subscription is in
// memory: what comes while one is in flight waits for its end and follows it.
//
// # Commits
//
// Outcomes are gathered while a commit is under way and written by the next, in
// one transaction that checks the lease: attempts, acknowledged revisions, rows.
// Messages of the stream are acknowledged after that. So what is not
// acknowledged there is either in the stream or in a row.
//
// # Failures
//
//   - A crash: the next owner resets the consumer, so everything unacknowledged
//     comes again, the oldest first; what is acknowledged in PostgreSQL is passed
//     over. An attempt whose commit was lost is repeated with the same id and body.
//   - PostgreSQL away: commits wait, acknowledgements stop, and so does the stream
//     when enough is under way. Nothing is lost.
//   - A lost lease: attempts end, all in memory is dropped.
//   - A stop: nothing new begins, attempts in flight end and are committed.
package delivery
