// Package probe is a canary: it subscribes waybills of its own in a running
// Posthaste, reports events of them, receives the pushes, and counts which are
// missing, late or repeated. It goes the way that every team goes, by the public
// interfaces alone, and so it sees what a team would see.
//
// Its waybills are those of the carrier "probe", which nobody polls; a round's
// journey ends with its last event, and its subscriptions with it.
//
// It isn't a load test, and it isn't the ledger: it breaks nothing.
package probe
