// Package testkit gives tests real neighbours: a nats-server of their own, a
// PostgreSQL database of their own, and a receiver that misbehaves on order. It
// is imported by tests only.
//
// Nothing has to be running. A test that calls [PostgreSQL] starts one server
// for its test process; every further call makes a database in it, from a
// migrated template. The server ends with the process, however that ends, and
// its files with it. A package that checks for leaked goroutines does so with
// [Main], which stops the server first:
//
//	func TestMain(m *testing.M) { testkit.Main(m) }
package testkit
