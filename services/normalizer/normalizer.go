package normalizer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/maypok86/otter/v2"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/protobuf/proto"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/carrier"
	"github.com/posthaste/posthaste/services/internal/fault"
	pipelinev1 "github.com/posthaste/posthaste/services/internal/gen/posthaste/pipeline/v1"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pause"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/internal/wire"
)

// The interfaces are what the service needs of its neighbours.
type (
	consumer interface {
		Next(ctx context.Context) ([]*stream.Received, error)
		Lag(ctx context.Context) (stream.Lag, error)
	}
	publisher interface {
		Store(ctx context.Context, msgs []stream.Message) []stream.Outcome
	}
	rejecter interface {
		Publish(ctx context.Context, msgs ...stream.Message) error
	}
	// newest reads the newest message of subjects of TRACE; a subject without one
	// is absent.
	newest func(ctx context.Context, subjects []string) (map[string]stream.Stored, error)
	// history reads traces that left the stream; a waybill without one is absent.
	history func(ctx context.Context, waybills []track.Waybill) (map[track.Waybill]*trackingv1.TraceUpdate, error)
)

// Config is what the service needs.
type Config struct {
	Raw      consumer // of a shard of RAW
	Consumer string   // its durable's name, for spans
	Trace    publisher
	Rejected rejecter
	Newest   newest
	History  history
	// CacheSize is how many waybills' states are held in memory; 0 means 100,000.
	CacheSize int
	// MaxMessage is the largest message the streams take; 0 means 1 MiB.
	MaxMessage int
	Log        *slog.Logger
	Meter      metric.MeterProvider
	Messaging  obs.Messaging
	Now        func() time.Time
}

// Service normalizes one shard. It is one goroutine's.
type Service struct {
	cfg    Config
	states *otter.Cache[track.Waybill, state]
	meters meters
}

// state is what is known of a waybill: its trace, nil when there is none yet,
// and the sequence of the message that holds it, 0 for none.
type state struct {
	trace *track.Trace
	seq   uint64
}

const (
	defaultCache   = 100_000
	defaultMessage = 1 << 20
	// maxHeader is what the headers of a message may take of it.
	maxHeader = 4 << 10
	// maxBytes are published at once.
	maxBytes = 4 << 20
	// handBack is how long raw traces wait that can't be worked on now.
	handBack = 2 * time.Second
	// retryPause is how long the service waits when its neighbours are away.
	retryPause = 500 * time.Millisecond
	// historyWait bounds the wait for PostgreSQL, which others' waybills share.
	historyWait = 2 * time.Second
	// maxRounds of racing with another normalizer for one batch, before the rest
	// is handed back.
	maxRounds = 20
)

// batchSizes are the most messages published at once, by the failures before:
// what fails is parted from what doesn't.
var batchSizes = [...]int{stream.MaxBatch, 250, 50, 10, 1}

// New makes a service.
func New(cfg Config) (*Service, error) {
	if cfg.CacheSize == 0 {
		cfg.CacheSize = defaultCache
	}
	if cfg.MaxMessage == 0 {
		cfg.MaxMessage = defaultMessage
	}
	states, err := otter.New(&otter.Options[track.Waybill, state]{MaximumSize: cfg.CacheSize})
	if err != nil {
		return nil, fmt.Errorf("make the cache of states: %w", err)
	}
	m, err := newMeters(cfg.Meter)
	if err != nil {
		return nil, err
	}
	return &Service{cfg: cfg, states: states, meters: m}, nil
}

// Run works until the context ends. What it was at is finished or comes again.
func (s *Service) Run(ctx context.Context) error {
	forget, err := s.meters.watch(s.cfg.Consumer, s.cfg.Raw)
	if err != nil {
		return err
	}
	defer forget()
	for {
		batch, err := s.cfg.Raw.Next(ctx)
		if err != nil {
			return err
		}
		s.work(ctx, batch)
	}
}

// work ends every message of a batch.
func (s *Service) work(ctx context.Context, batch []*stream.Received) {
	fault.Crash("norm.received")
	s.meters.batch.Record(ctx, int64(len(batch)))
	jobs := s.gather(ctx, batch)
	for round, failures := 0, 0; round < maxRounds; round++ {
		if jobs = s.load(ctx, jobs); len(jobs) == 0 {
			return
		}
		changed, doubtful := s.merge(ctx, jobs)
		again := s.publish(ctx, changed, batchSizes[min(failures, len(batchSizes)-1)])
		if len(again) > 0 {
			failures++
			s.meters.stale.Add(ctx, int64(len(again)))
			s.cfg.Log.DebugContext(ctx, "waybills are merged again", "waybills", len(again), "round", round+1)
		}
		if jobs = append(again, doubtful...); len(jobs) == 0 {
			return
		}
	}
	s.handBack(ctx, jobs)
}

// job is what a batch says of one waybill.
type job struct {
	waybill track.Waybill
	subject string
	reports []track.Report
	raws    []*stream.Received
	// remap are the sources whose events of before are to be mapped anew; an empty
	// one is all.
	remap  []string
	before state
	// remembered says that before is from memory and may be old.
	remembered bool
	after      *track.Trace
	data       []byte // after, encoded
}

// gather maps a batch and puts what it says of one waybill together, in order.
func (s *Service) gather(ctx context.Context, batch []*stream.Received) []*job {
	var jobs []*job
	of := make(map[track.Waybill]*job, len(batch))
	var rejected []rejection
	for _, m := range batch {
		var raw pipelinev1.RawTrace
		report, no := s.mapRaw(ctx, m, &raw)
		if no != nil {
			rejected = append(rejected, rejection{raw: m, why: no})
			continue
		}
		j := of[report.Waybill]
		if j == nil {
			w := report.Waybill
			j = &job{waybill: w, subject: subject.Trace(string(w.Carrier), string(w.Number))}
			of[w] = j
			jobs = append(jobs, j)
		}
		if raw.GetSource() == carrier.RemapSource {
			j.remap = append(j.remap, raw.GetContext()[carrier.RemapSource])
		}
		j.reports, j.raws = append(j.reports, report), append(j.raws, m)
	}
	s.reject(ctx, rejected)
	return jobs
}

// rejection is a raw trace that can't be used.
type rejection struct {
	raw *stream.Received
	why *pipelinev1.RejectedRaw
}

// reject records what can't be used, and only then acknowledges it.
func (s *Service) reject(ctx context.Context, rejected []rejection) {
	if len(rejected) == 0 {
		return
	}
	msgs := make([]stream.Message, 0, len(rejected))
	for _, r := range rejected {
		s.meters.reject(ctx, r.why)
		data, err := proto.Marshal(r.why)
		if err != nil { // a text that isn't UTF-8
			data, _ = proto.Marshal(&pipelinev1.RejectedRaw{Body: r.raw.Data, Reason: r.why.GetReason(), Service: "normalizer"})
		}
		msgs = append(msgs, stream.Message{Subject: subject.Rejected(r.why.GetSource()), Data: data})
	}
	err := s.cfg.Rejected.Publish(ctx, msgs...)
	if err != nil {
		s.cfg.Log.ErrorContext(ctx, "raw traces that can't be used can't be recorded; they wait", "raw_traces", len(rejected), obs.KeyError, err)
	}
	for _, r := range rejected {
		if err != nil {
			s.end(ctx, r.raw.Nak(handBack))
		} else {
			s.end(ctx, r.raw.Ack())
		}
	}
}

// end looks at the error of an acknowledgement: the message comes again, and
// finds its work done.
func (s *Service) end(ctx context.Context, err error) {
	if err != nil {
		s.cfg.Log.WarnContext(ctx, "a raw trace will come again", obs.KeyError, err)
	}
}

func (s *Service) ack(ctx context.Context, j *job) {
	for _, m := range j.raws {
		s.end(ctx, m.Ack())
	}
}

func (s *Service) handBack(ctx context.Context, jobs []*job) {
	for _, j := range jobs {
		for _, m := range j.raws {
			s.end(ctx, m.Nak(handBack))
		}
	}
}

// merge returns the jobs that change something. Those that don't are ended,
// unless memory alone says so: it may be old, and what it holds for a repeat a
// change. Those are doubtful; the stream has to say.
func (s *Service) merge(ctx context.Context, jobs []*job) (changed, doubtful []*job) {
	now := s.cfg.Now()
	for _, j := range jobs {
		if err := s.advance(j, now, j.reports...); err != nil && !s.sift(ctx, j, now, err) {
			continue
		}
		switch {
		case j.after != nil:
			changed = append(changed, j)
		case j.remembered:
			s.states.Invalidate(j.waybill)
			doubtful = append(doubtful, j)
		default:
			s.meters.unchanged.Add(ctx, 1)
			s.ack(ctx, j)
		}
	}
	return changed, doubtful
}

// errTooLarge says that a trace doesn't fit a message.
var errTooLarge = errors.New("the trace would be larger than a message can be")

// advance makes the next trace from reports, in one revision; nil when they
// change nothing. An error says that it can't be made, now or later.
func (s *Service) advance(j *job, now time.Time, reports ...track.Report) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the merge panicked: %v", p)
		}
	}()
	j.after, j.data = nil, nil
	whole := track.Report{Waybill: j.waybill}
	for _, r := range reports {
		whole.Events, whole.Links = append(whole.Events, r.Events...), append(whole.Links, r.Links...)
		if whole.Erase.IsZero() {
			whole.Erase = r.Erase
		}
	}
	if len(j.remap) > 0 && j.before.trace != nil {
		for _, e := range carrier.RemapTrace(j.before.trace) {
			if slices.Contains(j.remap, "") || slices.Contains(j.remap, e.Provenance.Source) {
				screen(&e)
				whole.Events = append(whole.Events, e)
			}
		}
	}
	// A trace with what is only another telling has the revision of the one before:
	// it is kept, and nothing is pushed.
	t, _ := track.Merge(j.before.trace, whole, now)
	if t == j.before.trace {
		return nil
	}
	data, err := proto.Marshal(wire.TraceUpdate(t))
	if err != nil {
		return fmt.Errorf("encode trace: %w", err)
	}
	if len(data) > s.cfg.MaxMessage-maxHeader {
		return errTooLarge
	}
	j.after, j.data = t, data
	return nil
}

// sift rejects those raw traces of a job that can't be merged, and merges the
// others. It reports whether any are left.
func (s *Service) sift(ctx context.Context, j *job, now time.Time, why error) bool {
	var reports []track.Report
	var raws []*stream.Received
	var bad []rejection
	for i, r := range j.reports {
		if err := s.advance(j, now, r); err != nil {
			bad = append(bad, unmergeable(j.raws[i], err))
			continue
		}
		// One that only together with those before doesn't fit goes too.
		if err := s.advance(j, now, append(reports, r)...); err != nil {
			bad = append(bad, unmergeable(j.raws[i], err))
			continue
		}
		reports, raws = append(reports, r), append(raws, j.raws[i])
	}
	s.cfg.Log.WarnContext(ctx, "raw traces can't be merged", "raw_traces", len(bad), obs.KeyError, why)
	s.reject(ctx, bad)
	j.reports, j.raws = reports, raws
	return len(reports) > 0 && s.advance(j, now, reports...) == nil
}

// publish publishes changed states, at most most at once, and acknowledges what
// led to them. It returns the jobs to begin again.
func (s *Service) publish(ctx context.Context, jobs []*job, most int) (again []*job) {
	for len(jobs) > 0 {
		var msgs []stream.Message
		size, n := 0, 0
		for _, j := range jobs {
			if n == most || n > 0 && size+len(j.data) > maxBytes {
				break
			}
			msgs, size, n = append(msgs, s.message(ctx, j)), size+len(j.data), n+1
		}
		again = append(again, s.publishBatch(ctx, jobs[:n], msgs)...)
		jobs = jobs[n:]
	}
	return again
}

func (s *Service) publishBatch(ctx context.Context, jobs []*job, msgs []stream.Message) (again []*job) {
	fault.Crash("norm.merged")
	if fault.NormalizerAcksFirst {
		for _, j := range jobs {
			s.ack(ctx, j)
		}
		fault.Delay()
	}
	var failed error
	outcomes := s.cfg.Trace.Store(ctx, msgs)
	fault.Crash("norm.published")
	for i, o := range outcomes {
		j := jobs[i]
		if o.Err == nil {
			s.states.Set(j.waybill, state{trace: j.after, seq: o.Seq})
			if !fault.NormalizerAcksFirst {
				s.ack(ctx, j)
			}
			fault.Crash("norm.acked")
			continue
		}
		// Whatever happened, what is in memory may be old: another normalizer was
		// quicker, or the message was stored and its answer lost.
		s.states.Invalidate(j.waybill)
		again = append(again, j)
		if !errors.Is(o.Err, stream.ErrStale) {
			failed = o.Err
		}
	}
	s.meters.merged.Add(ctx, int64(len(jobs)-len(again)))
	if failed == nil {
		return again
	}
	s.cfg.Log.WarnContext(ctx, "trace updates can't be published; they are tried again", "updates", len(again), obs.KeyError, failed)
	if pause.For(ctx, retryPause) != nil {
		s.handBack(ctx, again)
		return nil
	}
	return again
}

const (
	rawDestination   = "posthaste.v1.raw.{slot}.{source}"
	traceDestination = "posthaste.v1.trace.{slot}.{carrier}.{waybill}"
)

func (s *Service) message(ctx context.Context, j *job) stream.Message {
	m := stream.Message{Subject: j.subject, Header: make(map[string][]string, 4), Data: j.data, Expect: &j.before.seq}
	// Of several raw traces the newest leads on.
	newest := j.raws[len(j.raws)-1]
	ctx, work := s.cfg.Messaging.Process(ctx, newest.Header, rawDestination, s.cfg.Consumer)
	ctx, send := s.cfg.Messaging.Send(ctx, traceDestination)
	obs.Inject(ctx, m.Header)
	obs.End(send, nil)
	obs.End(work, nil)
	return m
}
