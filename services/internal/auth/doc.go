// Package auth is what Posthaste knows of a caller: who it is, what it may do,
// and the form of its key. It decides and does no I/O: where keys are kept is
// the business of pg, how they come with a call that of rpc.
package auth
