// Package app wires the programs. It is the only package that sees services and
// adapters together, the only one that reads the environment, and nothing but
// the mains imports it.
//
// # Parts and programs
//
// A [part] is something that starts and stops: a connection, a server, a
// service. A program is a list of part names. The table in parts.go is in start
// order; parts stop in reverse. The all-in-one has every part; it differs from
// the four services only in where NATS and PostgreSQL come from.
//
// # Life of a process
//
// Parts start in order, and readiness comes last. Until NATS and PostgreSQL
// answer, a service waits, alive and not ready. On SIGINT or SIGTERM the process
// is not ready any more, waits for the configured delay so that nobody sends it
// new work, and stops its parts in reverse, within the configured grace. What is
// not done by then is unacknowledged and another instance's work. A second
// signal ends the process at once. A part that fails takes the process down,
// naming itself.
package app
