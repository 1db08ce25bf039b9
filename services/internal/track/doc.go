// Package track decides what a waybill's trace is: which events are new, in
// which order they stand, where the parcel is after them, and whether that is a
// change worth a revision. It is pure: no I/O, no clock; time is an argument.
//
// The state of a trace is a function of its set of events. Events may come in
// any order, any number of times, and in any grouping: the end is the same. Only
// the revisions, which count how it came about, differ. Two things are kept as
// they came first, since a repeat is no change: when an event was received, and
// its place among others of one instant; and a source that goes back and forth
// about one event ends where it was heard last.
//
// What several sources say is one truth: of events that tell of the same thing one
// counts, and which one is a function of the set too.
package track
