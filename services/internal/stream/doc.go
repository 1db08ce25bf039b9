// Package stream is the adapter to JetStream: the streams Posthaste keeps, and
// how messages are published to them and consumed from them in batches. It is
// the only place, besides the embedded server and the public feed, that knows
// NATS. What the messages mean is not its business.
//
// # Durability
//
// Every stream is on file, refuses new messages when full rather than dropping
// old ones, and lives on a server that syncs before it acknowledges
// (sync_interval: always). A single publish then costs an fsync of its own;
// only an atomic batch is synced once for all its messages. So [Publisher]
// gathers what concurrent callers hand in while what went before is on its way,
// which is group commit: the more comes, the less each costs.
//
// # Consuming
//
// A consumer hands out batches of whatever has arrived, at least one message.
// Every message must be acknowledged, and only after its effects are durable.
// A message is redelivered after a crash, after AckWait, or after a take-over,
// so what is done with it must be idempotent.
package stream
