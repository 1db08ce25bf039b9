// Package embedded starts what the all-in-one needs beside itself: a
// nats-server inside the process and a PostgreSQL as a child process. Both keep
// their files below a data folder, survive a restart and a kill, and are never
// started twice on the same folder.
//
// # Who owns what
//
// A folder is owned by whoever holds the lock on the file "lock" in it. The
// kernel gives the lock back when its holder ends, however it ends. Only the
// holder starts a server there.
//
// # What happens when a neighbour fails
//
// The nats-server lives and dies with the process. It syncs every message to
// disk before it acknowledges, so a kill loses nothing that was acknowledged.
//
// PostgreSQL is told by the kernel when the process is killed (on Linux) and
// stops at once; it recovers at the next start. If PostgreSQL dies by itself,
// [PostgreSQL.Done] is closed and the owner decides.
//
// Nothing here ever deletes a data folder, upgrades one, or fetches programs.
package embedded
