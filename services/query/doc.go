// Package query is the service that answers what is known: of waybills, from
// the TRACE stream, which is their state, and from PostgreSQL when they left it;
// of pushes and attempts, from PostgreSQL. Its projector copies TRACE to
// PostgreSQL, so that waybills can be asked for in other ways and outlive the
// stream. It changes nothing else.
package query
