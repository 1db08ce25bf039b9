// Package feed follows trace updates on NATS, durably: a team that wants every
// change of every waybill, or of some carriers, without a callback URL.
//
// # What is promised
//
//   - At least once. An update is acknowledged after the handler returned nil,
//     and comes again after an error, a crash, or a lost acknowledgement.
//   - Nothing is missed. The server keeps the follower's place under its durable
//     name; [Follow] takes up there, after a week as after a second.
//   - In order for one waybill, as long as one process follows under a name. With
//     several, each update goes to one of them, and two updates of a waybill may
//     be handled at the same time: keep the revision beside what you store, and
//     leave out a lower one.
//
// # What is compacted
//
// The stream holds one message for each waybill: its newest state and its whole
// trace. So a follower that was away, or is slow, or whose handler failed, gets
// the newest revision only; the ones between are gone as messages, but not as
// events: [Update.Since] finds every event that came or changed after the
// revision that you have. Don't count messages, and don't take one message for
// one change.
//
// A waybill leaves the stream when it hasn't changed for weeks (60 days unless
// the operator says otherwise). A follower that was away for longer asks for
// those over gRPC.
package feed
