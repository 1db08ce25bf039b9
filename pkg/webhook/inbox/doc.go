// Package inbox makes the effects of pushes happen exactly once, though a push
// comes at least once.
//
// It keeps how far each subscription's chain of revisions has got, and with it
// tells news from repeats. [Memory] is for effects that live in the process;
// package pginbox keeps the chain in the receiver's own PostgreSQL and moves it
// in the transaction of the effect, so that a crash undoes both or neither.
//
// What a push says is given to the effect once:
//
//	link       what the inbox does
//	continues  the effect gets the push's events
//	overlaps   the effect gets those events that it hasn't had in their present form
//	repeats    nothing; the push is acknowledged
//	gap        nothing; Posthaste is asked for everything after what is here, and
//	           the push is acknowledged when it promised that
//
// To ask is to call [Asker], which client.Client.Replay satisfies: the answer
// to it comes as a push, with all events since, and continues the chain.
//
// A platform's form has no revisions and brings the whole trace each time. For
// those there is Once, which goes by the push's id.
package inbox
