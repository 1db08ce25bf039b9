package subscription

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/fault"
	pipelinev1 "github.com/posthaste/posthaste/services/internal/gen/posthaste/pipeline/v1"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pace"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/push"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/track"
)

const (
	pushDestination = "posthaste.v1.push.{slot}.{endpoint}"
	// maxBody leaves room below the server's largest message, 8 MiB.
	maxBody = 7 << 20
	// maxPublish is the most bytes published at once.
	maxPublish = 8 << 20
)

// pushes gathers what a batch hands to delivery. The order within an endpoint is
// the order of adding.
type pushes struct {
	*worker

	msgs  []stream.Message
	done  []pg.Pushed
	spans []trace.Span
	held  int64
	err   error
}

func (w *worker) newPushes(n int) *pushes {
	return &pushes{worker: w, msgs: make([]stream.Message, 0, n), done: make([]pg.Pushed, 0, n)}
}

// add makes the push of what a subscription lacks, if it lacks something.
func (p *pushes) add(ctx context.Context, t *track.Trace, m *pg.Match) {
	if t.Revision <= m.Pushed || p.err != nil {
		return
	}
	if due, held := p.holds(t, m); held {
		p.hold(m.ID, t, due)
		return
	}
	if fault.SkippedRevision && fault.Now() {
		p.record(m.ID, t)
		return
	}
	ctx, span := p.cfg.Messaging.Send(ctx, pushDestination)
	p.spans = append(p.spans, span)
	data, err := proto.Marshal(&pipelinev1.PushOrder{
		PushId: push.ID(m.ID, t.Revision), TenantId: m.TenantID, SubscriptionId: m.ID, EndpointId: m.EndpointID,
		CarrierCode: string(t.Waybill.Carrier), WaybillNumber: string(t.Waybill.Number),
		AfterRevision: uint64(m.Pushed), Revision: uint64(t.Revision),
		Body: p.body(ctx, m, t), ReceiveTime: timestamppb.New(receiveTime(t, m.Pushed)),
		MatchShard: uint32(p.index), MatchEpoch: uint64(p.lease.Epoch),
	})
	if err != nil {
		p.err = fmt.Errorf("encode a push: %w", err)
		return
	}
	msg := stream.Message{Subject: subject.Push(m.EndpointID), Header: make(map[string][]string, 2), Data: data}
	obs.Inject(ctx, msg.Header)
	p.msgs = append(p.msgs, msg)
	p.record(m.ID, t)
}

// record notes that a subscription has been brought up to a trace.
func (p *pushes) record(id string, t *track.Trace) {
	p.note(t, pg.Pushed{ID: id, Revision: t.Revision, State: pace.CodeOf(t.State.Status, t.State.Sub)})
}

func (p *pushes) note(t *track.Trace, done pg.Pushed) {
	if t.State.Terminal {
		// The revision's time and not the status's: further changes of an ended
		// journey extend the tail, and a status may be told late.
		done.Ended = t.UpdateTime
	}
	p.done = append(p.done, done)
}

// body renders a push. One that is too large for the stream comes without the
// whole trace, or else empty: delivery renders it then.
func (p *pushes) body(ctx context.Context, m *pg.Match, t *track.Trace) []byte {
	sub := push.Subscription{
		ID: m.ID, TenantID: m.TenantID, Metadata: m.Metadata, AccountID: m.AccountID, Terms: m.Terms, IncludeTrace: m.IncludeTrace,
		Mask: p.cfg.Mask != nil && p.cfg.Mask(m.TenantID),
	}
	if fault.WrongTenant && fault.Now() {
		sub.TenantID = "somebody-else"
	}
	render := func() []byte { return push.Format(m.Format).Render(sub, t, m.Pushed) }
	body := render()
	if len(body) > maxBody && sub.IncludeTrace {
		sub.IncludeTrace = false
		body = render()
	}
	if len(body) > maxBody {
		p.cfg.Log.WarnContext(ctx, "a push is too large for the stream; its order has no body",
			obs.KeySubscriptionID, m.ID, obs.KeyCarrierCode, t.Waybill.Carrier, obs.KeyWaybillNumber, t.Waybill.Number, "bytes", len(body))
		return nil
	}
	return body
}

// receiveTime is when the newest of the pushed events was taken in.
func receiveTime(t *track.Trace, after track.Revision) time.Time {
	var newest time.Time
	for i := range t.Events {
		if e := &t.Events[i]; e.Revision > after && e.ReceiveTime.After(newest) {
			newest = e.ReceiveTime
		}
	}
	if newest.IsZero() {
		return t.UpdateTime
	}
	return newest
}

// publish stores the pushes. After an error some may be stored; they are
// published again.
func (p *pushes) publish(ctx context.Context, cause string) error {
	if p.err != nil {
		return p.err
	}
	for rest := p.msgs; len(rest) > 0; {
		n := portion(rest)
		if err := p.cfg.Push.Publish(ctx, rest[:n]...); err != nil {
			return err
		}
		rest = rest[n:]
	}
	if p.held > 0 {
		p.meters.held.Add(ctx, p.held)
	}
	p.meters.pushes.Add(ctx, int64(len(p.msgs)), metric.WithAttributes(attribute.String("cause", cause)))
	return nil
}

// portion is how many messages make up one atomic batch, at least one.
func portion(msgs []stream.Message) int {
	size := 0
	for i := range msgs {
		size += len(msgs[i].Data)
		if i > 0 && (i >= stream.MaxBatch || size > maxPublish) {
			return i
		}
	}
	return len(msgs)
}

// end ends the spans.
func (p *pushes) end(err error) {
	for _, span := range slices.Backward(p.spans) {
		obs.End(span, err)
	}
}
