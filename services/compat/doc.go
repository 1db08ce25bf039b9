// Package compat answers programs that were written for Kdniao or Kuaidi100, as
// those platforms would: such a program moves here by another base URL, and a
// key of Posthaste's keeping. It subscribes and queries; pushes in the
// platforms' forms are push's and delivery's.
//
// Clients in the wild differ from the documents in many ways, and all of them
// worked. What is tolerated is said where it is read: parameters anywhere
// ([params]), encoded once, twice or not at all ([spellings]), documents that are
// nearly JSON ([parseObject]).
package compat
