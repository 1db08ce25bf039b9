package client

import (
	"context"
	"iter"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/trace"
)

// maxWaybills is the most the server returns in one call.
const maxWaybills = 200

// GetWaybill returns where a parcel stands. [ErrNotFound] when nothing was ever
// reported for it.
func (c *Client) GetWaybill(ctx context.Context, id trace.ID) (trace.Waybill, error) {
	resp, err := c.waybills.GetWaybill(ctx, &trackingv1.GetWaybillRequest{Name: id.Name()})
	return trace.FromWaybill(resp.GetWaybill()), fail("get waybill "+id.String(), err)
}

// GetWaybills returns where any number of parcels stand, in batches. Those of
// which nothing was ever reported are left out. The keys are the waybills' own
// IDs: numbers in upper case, without blanks.
func (c *Client) GetWaybills(ctx context.Context, ids []trace.ID) (map[trace.ID]trace.Waybill, error) {
	found := make(map[trace.ID]trace.Waybill, len(ids))
	for len(ids) > 0 {
		n := min(len(ids), maxWaybills)
		req := &trackingv1.BatchGetWaybillsRequest{}
		for _, id := range ids[:n] {
			req.Names = append(req.Names, id.Name())
		}
		resp, err := c.waybills.BatchGetWaybills(ctx, req)
		if err != nil {
			return nil, fail("get several waybills", err)
		}
		for _, m := range resp.GetWaybills() {
			w := trace.FromWaybill(m)
			found[w.ID] = w
		}
		ids = ids[n:]
	}
	return found, nil
}

// TraceEvents returns a waybill's trace in order: all of it, or the events that
// came or changed after a revision. An error is the last thing it gives.
func (c *Client) TraceEvents(ctx context.Context, id trace.ID, after uint64) iter.Seq2[trace.Event, error] {
	return pages("list events of "+id.String(), func(token string) ([]*trackingv1.TraceEvent, string, error) {
		resp, err := c.waybills.ListTraceEvents(ctx, &trackingv1.ListTraceEventsRequest{Parent: id.Name(), AfterRevision: after, PageToken: token})
		return resp.GetEvents(), resp.GetNextPageToken(), err
	}, trace.FromEvent)
}
