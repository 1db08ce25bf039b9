// Package normalizer is the service that makes canonical traces of what was
// taken in: it maps raw traces, merges them into the state of their waybills,
// and publishes a trace update where something changed.
//
// # The stream is the state
//
// The newest message of a waybill's subject in TRACE is its state. A batch of
// raw traces is mapped, gathered by waybill, merged into the states, and what
// changed is published at once, each message with the sequence that it was made
// from as its expectation. So two normalizers can race, and a waybill's chain of
// revisions can't fork: what the one that is late publishes is refused, and it
// begins again from what the other wrote. Raw traces are acknowledged after that. A death in between repeats the merge, which then
// finds nothing new.
//
// # What is where
//
// States are held in memory, read from TRACE in batches when they aren't, and
// from PostgreSQL when the waybill left the stream long ago. While PostgreSQL is
// away it can't be told whether a waybill is new or left long ago; what was
// reported of those is handed back and waits, and all others go on.
//
// Every raw trace ends in one of three ways: acknowledged after its effect is on
// disk, acknowledged after it is in REJECTED with the reason, or handed back.
package normalizer
