package stream

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/posthaste/posthaste/pkg/subject"
)

// The streams.
const (
	Raw      = "POSTHASTE_RAW"      // what sources said, byte for byte
	Trace    = "POSTHASTE_TRACE"    // the state of every waybill, newest only
	Push     = "POSTHASTE_PUSH"     // pushes on their way to endpoints
	Rejected = "POSTHASTE_REJECTED" // reports that could not be used, and why
	Ops      = "POSTHASTE_OPS"      // operational events
)

// Config says how the streams are kept. The zero value is a single server's.
type Config struct {
	// Replicas is 1 on a single server and 3 in a cluster.
	Replicas int
	// RawMaxBytes, TraceMaxBytes, PushMaxBytes and RejectedMaxBytes bound the
	// streams. A full stream refuses, so that nothing is dropped and intake
	// answers 503; zero takes the default (16, 32, 16, 1 GiB). Operational events
	// get a quarter of what rejected reports do.
	RawMaxBytes, TraceMaxBytes, PushMaxBytes, RejectedMaxBytes int64
	// RawMaxAge is how long raw traces are kept, used or not. It must exceed the
	// longest outage of the normalizer by far; zero means 72 h.
	RawMaxAge time.Duration
	// TraceMaxAge is how long a waybill without a change stays in TRACE before
	// it lives in PostgreSQL alone; zero means 60 days.
	TraceMaxAge time.Duration
	// RejectedMaxAge is how long rejected reports are kept; zero means 30 days.
	RejectedMaxAge time.Duration
}

const gib = 1 << 30

func orDefault[T int | int64 | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

// streams is the topology. Each field that would lose something if it changed
// says so.
func (c Config) streams() []jetstream.StreamConfig {
	replicas := orDefault(c.Replicas, 1)
	base := jetstream.StreamConfig{
		Storage:            jetstream.FileStorage, // memory would lose all at a restart
		Retention:          jetstream.LimitsPolicy,
		Discard:            jetstream.DiscardNew, // old would drop what is still owed
		Replicas:           replicas,
		MaxMsgs:            -1,
		MaxMsgsPerSubject:  -1,
		MaxMsgSize:         -1,
		MaxConsumers:       -1,
		Duplicates:         2 * time.Minute, // unused: idempotence rests on the merge
		AllowDirect:        true,
		AllowAtomicPublish: true, // without it every message costs an fsync
	}
	raw := base
	raw.Name, raw.Subjects = Raw, []string{subject.AllRaw}
	raw.Description = "Raw traces as sources sent them"
	raw.MaxAge = orDefault(c.RawMaxAge, 72*time.Hour)
	raw.MaxBytes = orDefault(c.RawMaxBytes, 16*gib)
	raw.DenyDelete, raw.DenyPurge = true, true // the only copy of what isn't normalized yet

	trace := base
	trace.Name, trace.Subjects = Trace, []string{subject.AllTrace}
	trace.Description = "The newest trace update of every waybill: the state itself"
	trace.MaxMsgsPerSubject = 1 // compaction: the newest covers the older
	trace.MaxAge = orDefault(c.TraceMaxAge, 60*24*time.Hour)
	trace.MaxBytes = orDefault(c.TraceMaxBytes, 32*gib)
	trace.DenyDelete, trace.DenyPurge = true, true // the state of every waybill

	push := base
	push.Name, push.Subjects = Push, []string{subject.AllPush}
	push.Description = "Pushes on their way to endpoints; trimmed to what is acknowledged"
	// No MaxAge: an old push is still owed.
	push.MaxBytes = orDefault(c.PushMaxBytes, 16*gib)
	push.DenyDelete = true // it is trimmed by purging

	rejected := base
	rejected.Name, rejected.Subjects = Rejected, []string{subject.AllRejected}
	rejected.Description = "Reports that could not be used, and why"
	rejected.MaxAge = orDefault(c.RejectedMaxAge, 30*24*time.Hour)
	rejected.MaxBytes = orDefault(c.RejectedMaxBytes, gib)
	rejected.Discard = jetstream.DiscardOld // for people to look at; must never stop the others

	ops := base
	ops.Name, ops.Subjects = Ops, []string{subject.AllOps}
	ops.Description = "Operational events: breakers, parked pushes, disabled endpoints"
	ops.MaxAge = 30 * 24 * time.Hour
	ops.MaxBytes = rejected.MaxBytes / 4
	ops.Discard = jetstream.DiscardOld // for people, too

	return []jetstream.StreamConfig{raw, trace, push, rejected, ops}
}
