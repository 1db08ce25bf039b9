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
// A lane is open, held or draining. Open, a push goes from the stream to the
// endpoint. A push that fails becomes a row of what its subscription is owed, and
// later pushes of that subscription go to the row too, until it is settled; the
// others of the lane go on. When its breaker opens, or when the endpoint is
// paused, gone or too slow, the lane is held: all goes to rows. When it recovers
// it drains: rows go out, one in flight, two, four and so on; a push whose
// subscription has no row goes out at once, and one whose subscription has, goes
// to the front of the rows and comes with them. When what is left is little, the
// lane opens.
//
// Nothing in memory grows with what is owed: a lane knows at most maxOwed rows,
// reads maxDue at a time, and holds maxWaiting pushes.
//
// # Breakers
//
// Each endpoint has one, see breaker. While it is open one row at a time probes, on
// the schedule of the retry policy and at least every ten minutes. What was owed
// all the time that a push is tried, while all probes failed, is parked though it
// wasn't tried itself. That it opens and closes, that pushes are parked and that
// an endpoint is disabled are operational events: they are committed with what
// they tell of, then published to the stream POSTHASTE_OPS, and from there posted
// to the tenant's endpoints for operations.
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
//   - An outcome that PostgreSQL refuses, now and always: the batch is written one
//     by one, and what is refused is set aside, counted and told.
//   - A lost lease: attempts end, all in memory is dropped.
//   - A stop: nothing new begins, attempts in flight end and are committed.
package delivery
