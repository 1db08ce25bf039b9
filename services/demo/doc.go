// Package demo is a show of what Posthaste does: it plays parcels' journeys as
// Kdniao and Kuaidi100 would push them, and prints the signed callbacks that
// come of them. It sees Posthaste from outside only: over HTTP, gRPC and its own
// callback URL.
//
// It isn't a test of load or of faults: those are packages bench and e2e.
package demo
