// Package journey plays parcels' journeys as sources would tell them: a number and
// a seed give what has happened after some time, always the same, with what goes
// wrong in reality: silence, disorder, and events that are told otherwise later.
//
// It is pure. Serving it over HTTP and pushing it is simulator's; the poller plays
// the reserved test numbers with it.
package journey
