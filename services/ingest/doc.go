// Package ingest is the service that takes in what sources report: pushes of
// carriers and aggregators over HTTP, and events of teams over gRPC. It verifies,
// takes a document apart by waybill, and publishes the parts as they came. What
// they mean is the normalizer's.
//
// Success is answered after the RAW stream has all of it on disk, never before.
// What can't be used goes to the REJECTED stream with the reason, and takes
// nothing else with it.
package ingest
