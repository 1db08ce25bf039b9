// Package attacks runs attack cases against the real product and says which were
// withstood. A case is a line of YAML with an input and an expectation; the
// runner knows groups of cases, not cases, so a file that it has never seen runs
// as well.
//
// The product is the all-in-one in this process, with data that is thrown away,
// reached through its listeners on loopback as anybody would. Only the network
// that callbacks go to is replaced: names are resolved as the case says, and what
// is dialled is noted and led to a receiver on loopback. No address outside this
// machine is ever dialled.
//
// No case is skipped. One of a group, with a key or with a check that the
// runner doesn't know fails, and says so. Where a limit is a time, the product runs
// with a shorter one, by its own configuration; the check is that it holds.
package attacks
