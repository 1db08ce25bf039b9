package client

import (
	"cmp"
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/pkg/trace"
)

// ReportedEvent is one event as a team reports it. Waybill and one of Time and
// LocalTime are required.
type ReportedEvent struct {
	Waybill trace.ID
	// EventID is the team's own stable id; empty lets Posthaste derive one from
	// time, code, place and text.
	EventID string
	// Kind of "" means [trace.KindEvent].
	Kind trace.Kind
	// TargetEventID is the EventID that a void or a correction acts upon.
	TargetEventID string
	// Time is when it happened, with the offset of the place.
	Time time.Time
	// LocalTime is the clock at the place when the offset isn't known:
	// "2025-03-01T10:02:11", "2025-03-01 10:02", or a date. Time goes first.
	LocalTime string
	// Status is where the parcel stands after it; SubStatus must belong to it.
	Status    status.Status
	SubStatus status.Sub
	// Text is at most 4,000 characters, and Language its BCP 47 language.
	Text         string
	Language     string
	Location     trace.Location
	NextLocation trace.Location
	Courier      trace.Person
	Signer       string
	ReasonCode   string
	RawCode      string
	// OrderHint breaks ties of equal times, ascending.
	OrderHint int
	// EstimateTime is when the parcel is expected; EstimateLocalTime the same in
	// the forms of LocalTime.
	EstimateTime      time.Time
	EstimateLocalTime string
	// Attributes are whatever else, at most 32.
	Attributes map[string]string
}

// Report says what became of reported events.
type Report struct {
	// Accepted is how many are on disk and will be pushed.
	Accepted int
	// Rejected is how many were refused; Rejections are the first 1,000 of them.
	Rejected   int
	Rejections []Rejection
}

// Rejection says why an event was refused.
type Rejection struct {
	// Index is the event's place in what was reported, from 0.
	Index int
	// Field is the field at fault, in the API's spelling.
	Field       string
	Description string
}

// maxReportBytes keeps a message below the 4 MiB that servers take.
const maxReportBytes = 3 << 20

// maxRejections is how many are kept of those refused.
const maxRejections = 1000

// ReportEvents hands in any number of events, in batches. When it returns
// without an error, the accepted ones are on disk and the others named. With an
// error, the report counts the batches before; report all again, since repeats
// change nothing.
func (c *Client) ReportEvents(ctx context.Context, events []ReportedEvent) (Report, error) {
	var report Report
	done := 0
	err := eachBatch(events, func(batch []*ingestv1.ReportedEvent) error {
		resp, err := c.ingest.ReportEvents(ctx, &ingestv1.ReportEventsRequest{Events: batch})
		if err != nil {
			return err
		}
		report.Accepted += int(resp.GetAcceptedCount())
		report.add(done, len(resp.GetRejectedEvents()), resp.GetRejectedEvents())
		done += len(batch)
		return nil
	})
	return report, fail("report events", err)
}

// Reporter hands in a stream of events. It is for one goroutine.
type Reporter struct {
	stream grpc.ClientStreamingClient[ingestv1.StreamEventsRequest, ingestv1.StreamEventsResponse]
	cancel context.CancelFunc
	done   bool
}

// NewReporter opens a stream of events. Close it, or end the context.
func (c *Client) NewReporter(ctx context.Context) (*Reporter, error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := c.ingest.StreamEvents(ctx)
	if err != nil {
		cancel()
		return nil, fail("report a stream of events", err)
	}
	return &Reporter{stream: stream, cancel: cancel}, nil
}

// Report sends events at once. Returning nil says that they are on their way,
// and nothing more: only [Reporter.Close] tells what was accepted. After an
// error the stream is dead; report everything since it was opened again.
func (r *Reporter) Report(events ...ReportedEvent) error {
	const op = "report a stream of events"
	if r.done {
		return newError(op, codes.FailedPrecondition, "the reporter is closed")
	}
	err := eachBatch(events, func(batch []*ingestv1.ReportedEvent) error {
		return r.stream.Send(&ingestv1.StreamEventsRequest{Events: batch})
	})
	if err == nil {
		return nil
	}
	r.done = true
	defer r.cancel()
	if errors.Is(err, io.EOF) {
		// The server ended the stream: the answer says why.
		if _, err = r.stream.CloseAndRecv(); err == nil {
			err = grpcstatus.Error(codes.Unavailable, "the server ended the stream before the events did")
		}
	}
	return fail(op, err)
}

// Close ends the stream and waits until everything accepted is on disk.
func (r *Reporter) Close() (Report, error) {
	const op = "close a stream of events"
	if r.done {
		return Report{}, newError(op, codes.FailedPrecondition, "the reporter is closed")
	}
	r.done = true
	defer r.cancel()
	resp, err := r.stream.CloseAndRecv()
	if err != nil {
		return Report{}, fail(op, err)
	}
	report := Report{Accepted: int(resp.GetAcceptedCount())}
	report.add(0, int(resp.GetRejectedCount()), resp.GetRejectedEvents())
	return report, nil
}

func (r *Report) add(before, count int, rejected []*ingestv1.RejectedEvent) {
	r.Rejected += count
	for _, m := range rejected {
		if len(r.Rejections) < maxRejections {
			r.Rejections = append(r.Rejections, Rejection{
				Index: before + int(m.GetIndex()), Field: m.GetField(), Description: m.GetDescription(),
			})
		}
	}
}

// eachBatch calls send with as many events at a time as the server takes.
func eachBatch(events []ReportedEvent, send func([]*ingestv1.ReportedEvent) error) error {
	var batch []*ingestv1.ReportedEvent
	size := 0
	for i := range events {
		m := toReported(&events[i])
		n := proto.Size(m)
		if len(batch) == maxBatch || len(batch) > 0 && size+n > maxReportBytes {
			if err := send(batch); err != nil {
				return err
			}
			batch, size = nil, 0
		}
		if batch == nil {
			batch = make([]*ingestv1.ReportedEvent, 0, min(len(events)-i, maxBatch))
		}
		batch, size = append(batch, m), size+n
	}
	if len(batch) == 0 {
		return nil
	}
	return send(batch)
}

var reportedKinds = map[trackingv1.EventKind]trace.Kind{
	trackingv1.EventKind_EVENT_KIND_EVENT:      trace.KindEvent,
	trackingv1.EventKind_EVENT_KIND_INFO:       trace.KindInfo,
	trackingv1.EventKind_EVENT_KIND_ESTIMATE:   trace.KindEstimate,
	trackingv1.EventKind_EVENT_KIND_VOID:       trace.KindVoid,
	trackingv1.EventKind_EVENT_KIND_CORRECTION: trace.KindCorrection,
}

// kindInvalid is what the server refuses, since unspecified means an event.
const kindInvalid = trackingv1.EventKind(-1)

func toReported(e *ReportedEvent) *ingestv1.ReportedEvent {
	m := &ingestv1.ReportedEvent{
		CarrierCode: e.Waybill.CarrierCode, WaybillNumber: e.Waybill.WaybillNumber, EventId: e.EventID, TargetEventId: e.TargetEventID,
		EventTime: eventTime(e.Time, e.LocalTime), Status: trackingv1.Status(e.Status), SubStatus: trackingv1.SubStatus(e.SubStatus),
		Text: e.Text, Language: e.Language, Signer: e.Signer, ReasonCode: e.ReasonCode, RawCode: e.RawCode, OrderHint: toInt32(e.OrderHint),
		EstimateTime: eventTime(e.EstimateTime, e.EstimateLocalTime), Attributes: e.Attributes,
		Location: toLocation(&e.Location), NextLocation: toLocation(&e.NextLocation),
	}
	if e.Kind != "" {
		m.Kind = cmp.Or(toState(reportedKinds, e.Kind), kindInvalid)
	}
	if e.Courier != (trace.Person{}) {
		m.Courier = &trackingv1.Person{Name: e.Courier.Name, Phone: e.Courier.Phone}
	}
	return m
}

func eventTime(t time.Time, local string) string {
	if t.IsZero() {
		return local
	}
	return t.Format(time.RFC3339Nano)
}

func toLocation(l *trace.Location) *trackingv1.Location {
	if *l == (trace.Location{}) {
		return nil
	}
	return &trackingv1.Location{
		Text: l.Text, City: l.City, Region: l.Region, Country: l.Country, Postcode: l.Postcode,
		FacilityCode: l.FacilityCode, FacilityName: l.FacilityName, FacilityType: l.FacilityType,
		Latitude: l.Latitude, Longitude: l.Longitude,
	}
}
