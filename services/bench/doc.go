// Package bench measures the whole pipeline beside the bare limit of the
// machine: the all-in-one program with events coming in over gRPC, against a
// minimal HTTP client that posts the same signed body to the same receiver in
// the same run. Only the ratio of the two says something about Posthaste; the
// absolute figures say as much about the machine.
//
// Four kinds of processes take part, each on its own so that its CPU can be
// told apart: the program under test with its PostgreSQL, the receiver, the
// bare client, and the load generator (this process).
package bench
