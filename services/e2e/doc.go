// Package e2e tests the promises from outside: over gRPC, HTTP, NATS and
// callbacks, against the all-in-one and against the four services, as processes
// that are killed and started again. What a promise says is in
// docs/guarantees.md; a test is named after the one it would catch breaking.
package e2e
