// Package simulator stands in for carriers and aggregators: it answers their
// queries and sends their pushes, with whole journeys of parcels, as fast as wanted
// and the same for a seed. It is for demos, tests and load, and no part of a
// production Posthaste.
package simulator
