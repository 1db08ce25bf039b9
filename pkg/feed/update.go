package feed

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/trace"
)

// Update is a waybill as it is after a change.
type Update struct {
	// Waybill is the state; its Revision is the newest there was when the update
	// was sent.
	Waybill trace.Waybill
	// Events are the whole trace, in order.
	Events []trace.Event
	// PublishTime is when the stream took it in.
	PublishTime time.Time
	// Deliveries counts how often it was handed out, from 1. Above 1 it may have
	// been handled before.
	Deliveries int
	// Traceparent is the W3C trace context of the change, empty if there is none.
	Traceparent string
}

// Since returns the events that came or changed after a revision, in order: 0
// gives all of them. Give it the revision that you have of the waybill.
func (u Update) Since(revision uint64) []trace.Event { return trace.After(u.Events, revision) }

func decode(m jetstream.Msg, md *jetstream.MsgMetadata) (Update, error) {
	u, err := decodeData(m.Data())
	if err != nil {
		return Update{}, fmt.Errorf("read %s: %w", m.Subject(), err)
	}
	u.PublishTime, u.Deliveries = md.Timestamp, int(md.NumDelivered)
	// Not Get, which would look for another spelling.
	if v := m.Headers()["traceparent"]; len(v) > 0 {
		u.Traceparent = v[0]
	}
	return u, nil
}

func decodeData(data []byte) (Update, error) {
	var p trackingv1.TraceUpdate
	if err := proto.Unmarshal(data, &p); err != nil {
		return Update{}, fmt.Errorf("it is not a trace update: %w", err)
	}
	if p.GetWaybill().GetRevision() == 0 {
		return Update{}, fmt.Errorf("it is not a trace update: %w", errNoRevision)
	}
	return Update{Waybill: trace.FromWaybill(p.GetWaybill()), Events: trace.FromEvents(p.GetEvents())}, nil
}
