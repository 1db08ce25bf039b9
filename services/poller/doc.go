// Package poller asks carriers and aggregators that don't push. It takes waybills
// from the monitoring queue when their time has come, asks their source, puts what
// is new into the RAW stream like any report, and says when to ask next.
//
// A source has a file here: how it is asked and how its answers are told apart.
// What an answer means is carrier's. When a waybill is asked for next is decided in
// schedule.go. Each source is one instance's at a time, so that its limits hold
// however many instances there are.
package poller
