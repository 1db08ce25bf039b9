package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/canonical"
	pipelinev1 "github.com/posthaste/posthaste/services/internal/gen/posthaste/pipeline/v1"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/rpc"
	"github.com/posthaste/posthaste/services/internal/track"
)

const (
	maxEvents = 1000 // in one message
	// maxRejections of a stream are told one by one; the others are counted.
	maxRejections = 1000
	// maxInFlight messages of one stream wait for the disk at once.
	maxInFlight = 16
	// unavailableFor is when a caller may try again.
	unavailableFor = 2 * time.Second
)

// Reports is the gRPC face: what teams report.
type Reports struct {
	ingestv1.UnimplementedIngestServiceServer
	service *Service
}

// Reports makes the gRPC face.
func (s *Service) Reports() *Reports { return &Reports{service: s} }

// ReportEvents takes up to 1,000 events.
func (r *Reports) ReportEvents(ctx context.Context, req *ingestv1.ReportEventsRequest) (*ingestv1.ReportEventsResponse, error) {
	now := r.service.cfg.Now()
	raws, rejected, err := sort(req.GetEvents(), now)
	if err != nil {
		return nil, err
	}
	resp := &ingestv1.ReportEventsResponse{AcceptedCount: int32(len(req.GetEvents()) - len(rejected)), RejectedEvents: rejected}
	if err := r.keep(ctx, raws, true); err != nil {
		return nil, err
	}
	if len(raws) > 0 {
		resp.AcceptTime = timestamppb.New(r.service.cfg.Now())
	}
	return resp, nil
}

// StreamEvents takes any number of events. While some are on their way to the
// disk it reads on, and no further: a caller that is slowed is read more slowly.
func (r *Reports) StreamEvents(stream grpc.ClientStreamingServer[ingestv1.StreamEventsRequest, ingestv1.StreamEventsResponse]) error {
	resp := &ingestv1.StreamEventsResponse{}
	keeping, ctx := errgroup.WithContext(stream.Context())
	keeping.SetLimit(maxInFlight)
	received := r.receive(ctx, stream, resp, keeping)
	// What is under way is waited for, so that nobody is left behind.
	if err := keeping.Wait(); err != nil {
		return err
	}
	if received != nil {
		return received
	}
	return stream.SendAndClose(resp)
}

func (r *Reports) receive(ctx context.Context, stream grpc.ClientStreamingServer[ingestv1.StreamEventsRequest, ingestv1.StreamEventsResponse], resp *ingestv1.StreamEventsResponse, keeping *errgroup.Group) error {
	var index int64
	for ctx.Err() == nil {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		raws, rejected, err := sort(req.GetEvents(), r.service.cfg.Now())
		if err != nil {
			return err
		}
		resp.AcceptedCount += int64(len(req.GetEvents()) - len(rejected))
		resp.RejectedCount += int64(len(rejected))
		for _, e := range rejected {
			if len(resp.GetRejectedEvents()) < maxRejections {
				e.Index += index
				resp.RejectedEvents = append(resp.RejectedEvents, e)
			}
		}
		index += int64(len(req.GetEvents()))
		keeping.Go(func() error { return r.keep(ctx, raws, false) })
	}
	return ctx.Err()
}

func (r *Reports) keep(ctx context.Context, raws []*pipelinev1.RawTrace, bounded bool) error {
	err := r.service.keepShare(ctx, canonical.Source, callerOf(ctx), raws, bounded)
	switch {
	case errors.Is(err, errBusy):
		return rpc.Unavailable(longestWait)
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	r.service.cfg.Log.Log(ctx, levelOf(err), "reported events can't be kept; the caller is told to try again", obs.KeyError, err)
	return rpc.Unavailable(unavailableFor)
}

// sort checks events and puts the good ones of each waybill into one raw trace,
// in the order they came.
func sort(events []*ingestv1.ReportedEvent, now time.Time) ([]*pipelinev1.RawTrace, []*ingestv1.RejectedEvent, error) {
	if n := len(events); n == 0 || n > maxEvents {
		return nil, nil, rpc.Invalid("events", fmt.Sprintf("must be 1 to %d, and there are %d", maxEvents, n))
	}
	var rejected []*ingestv1.RejectedEvent
	places := make(map[track.Waybill]int, len(events))
	var order []track.Waybill
	var parts []*ingestv1.ReportEventsRequest
	for i, e := range events {
		w, _, bad := canonical.Event(e, now)
		if bad != nil {
			rejected = append(rejected, &ingestv1.RejectedEvent{Index: int64(i), Field: bad.Field, Description: bad.Description})
			continue
		}
		at, seen := places[w]
		if !seen {
			at = len(parts)
			places[w] = at
			order = append(order, w)
			parts = append(parts, &ingestv1.ReportEventsRequest{})
		}
		parts[at].Events = append(parts[at].Events, e)
	}
	raws := make([]*pipelinev1.RawTrace, len(parts))
	received := timestamppb.New(now)
	for i, p := range parts {
		body, err := proto.Marshal(p)
		if err != nil {
			return nil, nil, fmt.Errorf("encode reported events: %w", err)
		}
		raws[i] = &pipelinev1.RawTrace{
			Source: canonical.Source, SourceKind: trackingv1.SourceKind_SOURCE_KIND_TEAM,
			CarrierCode: string(order[i].Carrier), WaybillNumber: string(order[i].Number), Body: body, ReceiveTime: received,
		}
	}
	return raws, rejected, nil
}
