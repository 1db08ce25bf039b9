package poller

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/carrier"
	pipelinev1 "github.com/posthaste/posthaste/services/internal/gen/posthaste/pipeline/v1"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/track"
)

const (
	// maxAnswer is the largest answer that is read.
	maxAnswer = 4 << 20
	// askTimeout bounds one question.
	askTimeout = 20 * time.Second
	// batchTime is how long a batch is worked on, and claimFor how long nobody else
	// gets it: longer, so that no waybill is asked for twice.
	batchTime, claimFor = 60 * time.Second, 3 * time.Minute
	maxBatch            = 200
	// longestSleep bounds the sleep when nothing is due: a notification may be lost.
	longestSleep = time.Minute
	// unanswerablePause is how long a waybill rests that can't be asked for as it is.
	unanswerablePause = 12 * time.Hour

	rawDestination = "posthaste.v1.raw.{slot}.{source}"
)

// worker asks one source.
type worker struct {
	*Poller

	source  Source
	read    carrier.Source
	limit   *rate.Limiter
	breaker breaker
	tokens  tokens
	woken   chan struct{} // one token: something may be due
}

// mapping is the code of the source whose mapping reads the answers.
func (s *Source) mapping() string {
	if s.Play != nil {
		return "kdniao" // the form in which journeys are played
	}
	return s.Code
}

func (w *worker) wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

// work asks for what is due and sleeps until something is, as long as the source
// is this instance's.
func (w *worker) work(ctx, owned context.Context, _ pg.Lease) error {
	ctx, cancel := pg.Within(ctx, owned)
	defer cancel()
	for {
		now := w.cfg.Now()
		if until, why := w.breaker.open(now); !until.IsZero() {
			w.meters.open.Record(ctx, 1, w.by())
			w.cfg.Log.DebugContext(ctx, "a source isn't asked for a while", obs.KeySource, w.source.Code, "until", until, "because", why)
			if err := w.sleep(ctx, until.Sub(now), nil); err != nil {
				return err
			}
			continue
		}
		w.meters.open.Record(ctx, 0, w.by())
		due, err := w.cfg.Queue.Claim(ctx, w.source.Code, now, claimFor, w.batch())
		if err != nil {
			return err
		}
		if len(due) > 0 {
			if err := w.poll(ctx, owned, due); err != nil {
				return err
			}
			continue
		}
		at, some, err := w.cfg.Queue.Next(ctx, w.source.Code)
		if err != nil {
			return err
		}
		rest := longestSleep
		if some {
			rest = min(at.Sub(now), longestSleep)
		}
		if err := w.sleep(ctx, rest, w.woken); err != nil {
			return err
		}
	}
}

// batch is how many are claimed at once: what can be asked in half of a batch's
// time.
func (w *worker) batch() int {
	return min(max(int(w.source.Rate*batchTime.Seconds()/2), 1), maxBatch)
}

func (w *worker) sleep(ctx context.Context, d time.Duration, woken <-chan struct{}) error {
	const least = 10 * time.Millisecond
	t := time.NewTimer(max(d, least))
	defer t.Stop()
	select {
	case <-t.C:
	case <-woken:
	case <-ctx.Done():
	}
	return ctx.Err()
}

func (w *worker) by() metric.MeasurementOption {
	return metric.WithAttributes(attribute.String("source", w.source.Code))
}

// outcome is what became of one waybill: the record of it, and what is to be
// stored before it is recorded.
type outcome struct {
	polled   pg.Polled
	raws     []*pipelinev1.RawTrace
	rejected []*pipelinev1.RejectedRaw
}

// poll asks for a batch, stores what is new, and records it. In that order: what is
// lost in between is asked for again.
func (w *worker) poll(ctx, owned context.Context, due []pg.DuePoll) error {
	limited, cancel := context.WithTimeout(ctx, batchTime)
	defer cancel()
	outcomes := make([]outcome, len(due))
	var group errgroup.Group
	group.SetLimit(w.cfg.Concurrency)
	for i := range due {
		group.Go(func() error {
			outcomes[i] = w.one(limited, &due[i])
			return nil
		})
	}
	_ = group.Wait() // none fails
	polled := make([]pg.Polled, len(outcomes))
	for i := range outcomes {
		polled[i] = outcomes[i].polled
	}
	// Under owned, so that a stop loses no answer.
	if err := w.try(owned, "store answers of "+w.source.Code, func() error { return w.store(owned, outcomes) }); err != nil {
		return err
	}
	return w.try(owned, "record answers of "+w.source.Code, func() error { return w.cfg.Queue.Finish(owned, polled) })
}

// one asks for one waybill.
func (w *worker) one(ctx context.Context, d *pg.DuePoll) outcome {
	if !d.Wanted {
		return outcome{polled: pg.Polled{Waybill: d.Waybill, Unwanted: true}}
	}
	now := w.cfg.Now()
	if until, _ := w.breaker.open(now); !until.IsZero() {
		return outcome{polled: unasked(d, until)}
	}
	if w.limit.Wait(ctx) != nil {
		return outcome{polled: unasked(d, now)} // the batch's time is over
	}
	now = w.cfg.Now()
	q := Question{Base: w.source.Base, Account: w.source.Account, Waybill: d.Waybill, Code: w.source.Carriers[d.Waybill.Carrier], Phone: d.Phone, Now: now, Since: d.CreateTime}
	if w.source.Play != nil {
		doc, after := w.source.Play(q)
		out := w.take(ctx, d, Answer{Verdict: Told, Doc: doc}, now)
		if doc == nil {
			out = w.take(ctx, d, Answer{Verdict: Nothing}, now)
		}
		if out.polled.Next = now.Add(after); after == 0 {
			out.polled.Next = time.Time{}
		}
		return out
	}
	a, asked := w.ask(ctx, q)
	if !asked {
		return outcome{polled: unasked(d, now)}
	}
	w.meters.asked.Add(ctx, 1, metric.WithAttributes(attribute.String("source", w.source.Code), attribute.String("verdict", a.Verdict.String())))
	w.meters.took.Record(ctx, w.cfg.Now().Sub(now).Seconds(), w.by())
	if w.breaker.note(a, now) {
		until, why := w.breaker.open(now)
		w.cfg.Log.ErrorContext(ctx, "a source isn't asked for a while", obs.KeySource, w.source.Code, "until", until, "because", why)
	}
	return w.take(ctx, d, a, now)
}

// unasked leaves a waybill as it was, due at a time.
func unasked(d *pg.DuePoll, at time.Time) pg.Polled {
	return pg.Polled{Waybill: d.Waybill, Next: at, Failures: d.Failures, Silent: d.Silent}
}

// ask asks and tells what the answer is; false when the context ended before.
func (w *worker) ask(ctx context.Context, q Question) (Answer, bool) {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	a, err := w.exchange(limited, q)
	switch {
	case err == nil:
		return a, true
	case ctx.Err() != nil:
		return Answer{}, false
	case errors.Is(err, errRefused):
		return Answer{Verdict: Refused, Reason: err.Error()}, true
	}
	return Answer{Verdict: Failed, Reason: err.Error()}, true
}

func (w *worker) exchange(ctx context.Context, q Question) (Answer, error) {
	var err error
	if q.Token, err = w.tokens.get(ctx, w.source.Code, q.Base, q.Account, q.Now); err != nil {
		return Answer{}, err
	}
	req, err := w.source.Ask(ctx, q)
	if err != nil {
		return Answer{}, fmt.Errorf("make a question for %s: %w", w.source.Code, err)
	}
	resp, err := w.cfg.Client.Do(req)
	if err != nil {
		return Answer{}, fmt.Errorf("ask %s: %w", w.source.Code, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return Answer{}, fmt.Errorf("read the answer of %s: %w", w.source.Code, err)
	}
	if len(body) > maxAnswer {
		return Answer{Verdict: Unanswerable, Reason: "the answer is larger than 4 MiB"}, nil
	}
	if resp.StatusCode == http.StatusUnauthorized {
		w.tokens.drop()
	}
	return w.source.Read(q, Reply{Status: resp.StatusCode, Header: resp.Header, Body: body}), nil
}

// take says what an answer leads to.
func (w *worker) take(ctx context.Context, d *pg.DuePoll, a Answer, now time.Time) outcome {
	out := outcome{polled: pg.Polled{Waybill: d.Waybill, Time: now, Failures: d.Failures, Silent: d.Silent + 1}}
	n := need{tier: d.Tier, least: w.source.Least, known: !d.ChangeTime.IsZero(), age: now.Sub(d.ChangeTime)}
	if !n.known {
		n.age = now.Sub(d.CreateTime)
	}
	switch a.Verdict {
	case Told:
		out.polled.Failures = 0
		state := w.parts(d, a.Doc, now, &out)
		n.status, n.terminal = state.Status, state.Terminal
		if len(out.rejected) > 0 {
			out.polled.Failures = d.Failures + 1
		}
		if out.polled.Changed {
			out.polled.Silent, n.age, n.known = 0, 0, true
			w.meters.changed.Add(ctx, 1, w.by())
		}
	case Nothing:
		out.polled.Failures = 0
	case Unanswerable:
		out.polled.Next = now.Add(unanswerablePause)
		w.cfg.Log.WarnContext(ctx, "a source can't be asked for a waybill as it is", obs.KeySource, w.source.Code,
			obs.KeyCarrierCode, d.Waybill.Carrier, obs.KeyWaybillNumber, d.Waybill.Number, "because", a.Reason)
		return out
	case Refused, Throttled:
		until, _ := w.breaker.open(now)
		return outcome{polled: unasked(d, until)}
	case Failed:
		out.polled.Failures, out.polled.Silent = d.Failures+1, d.Silent
	}
	n.failures, n.silent = out.polled.Failures, out.polled.Silent
	if after, ok := n.next(w.cfg.Random()); ok {
		out.polled.Next = now.Add(after)
	}
	return out
}

// parts takes a document apart. What tells something new is to be stored; it says
// where the waybill stands by it.
func (w *worker) parts(d *pg.DuePoll, doc []byte, now time.Time, out *outcome) track.State {
	received := timestamppb.New(now)
	refuse := func(body []byte, reason, field, description string) {
		out.rejected = append(out.rejected, &pipelinev1.RejectedRaw{
			Source: w.read.Code, Account: w.source.Account.ID, Body: body, Reason: reason, Field: field, Description: description, ReceiveTime: received, Service: "poller",
		})
	}
	parts, err := w.answer(doc, d.Waybill)
	if err != nil {
		refuse(doc, "bad_body", "", err.Error())
		return track.State{}
	}
	var state track.State
	print := sha256.New()
	for _, p := range parts {
		if p.Err != nil {
			refuse(p.Body, "bad_field", p.Err.Field, p.Err.Description)
			continue
		}
		waybill := track.Waybill{Carrier: p.Carrier, Number: p.Number}
		report, err := w.read.Map(carrier.Raw{Waybill: waybill, Kind: w.source.Kind, Account: w.source.Account.ID, Body: p.Body, Context: p.Context, ReceiveTime: now})
		if err != nil {
			refuse(p.Body, "unmappable", "", err.Error())
			continue
		}
		for i := range report.Events {
			e := &report.Events[i]
			_, _ = fmt.Fprintln(print, e.ID, e.Status, e.Sub, e.Estimate, e.Signer)
		}
		_, _ = fmt.Fprintln(print, report.Links)
		if t, _ := track.Merge(nil, report, now); t != nil && waybill == d.Waybill {
			state = t.State
		}
		if len(report.Events) == 0 && len(report.Links) == 0 {
			continue // it says nothing
		}
		out.raws = append(out.raws, &pipelinev1.RawTrace{
			Source: w.read.Code, SourceKind: trackingv1.SourceKind(w.source.Kind), Account: w.source.Account.ID,
			CarrierCode: string(p.Carrier), WaybillNumber: string(p.Number), Body: p.Body, Context: p.Context, ReceiveTime: received,
		})
	}
	sum := print.Sum(nil)
	if len(out.raws) == 0 || slices.Equal(sum, d.Fingerprint) {
		out.raws = nil
		return state
	}
	out.polled.Changed, out.polled.Fingerprint = true, sum
	return state
}

// answer takes a document apart; what names no waybill is of the one that was
// asked for.
func (w *worker) answer(doc []byte, asked track.Waybill) ([]carrier.Part, error) {
	parts, err := w.read.Split(doc)
	if len(parts) == 1 {
		// Some carriers' answers leave out what was asked for.
		if p := &parts[0]; p.Number == "" && p.Err != nil && p.Err.Field == "number" {
			p.Carrier, p.Number, p.Err = asked.Carrier, asked.Number, nil
		}
	}
	if w.source.Kind == track.SourceAggregatorPoll {
		// Its carriers may have several codes at the platform; the one that was asked
		// for is the waybill's.
		for i := range parts {
			if p := &parts[i]; p.Err == nil && p.Number == asked.Number && len(parts) == 1 {
				p.Carrier = asked.Carrier
			}
		}
	}
	return parts, err
}

// store puts what is new into RAW, and what can't be used into REJECTED.
func (w *worker) store(ctx context.Context, outcomes []outcome) (err error) {
	var raws, rejected []stream.Message
	ctx, span := w.cfg.Messaging.Send(ctx, rawDestination)
	defer func() { obs.End(span, err) }()
	for _, o := range outcomes {
		for _, r := range o.raws {
			data, err := proto.Marshal(r)
			if err != nil {
				return fmt.Errorf("encode a raw trace: %w", err)
			}
			m := stream.Message{Subject: subject.Raw(r.GetSource(), r.GetCarrierCode(), r.GetWaybillNumber()), Header: map[string][]string{}, Data: data}
			obs.Inject(ctx, m.Header)
			raws = append(raws, m)
		}
		for _, r := range o.rejected {
			data, err := proto.Marshal(r)
			if err != nil { // a text that isn't UTF-8
				data, _ = proto.Marshal(&pipelinev1.RejectedRaw{Source: r.GetSource(), Body: r.GetBody(), Reason: r.GetReason(), Service: r.GetService()})
			}
			rejected = append(rejected, stream.Message{Subject: subject.Rejected(r.GetSource()), Data: data})
		}
	}
	if len(raws) > 0 {
		if err := w.cfg.Raw.Publish(ctx, raws...); err != nil {
			return fmt.Errorf("keep %d answers of %s: %w", len(raws), w.source.Code, err)
		}
	}
	if len(rejected) > 0 {
		if err := w.cfg.Rejected.Publish(ctx, rejected...); err != nil {
			return fmt.Errorf("record %d answers of %s that can't be used: %w", len(rejected), w.source.Code, err)
		}
		w.meters.rejected.Add(ctx, int64(len(rejected)), w.by())
	}
	return nil
}
