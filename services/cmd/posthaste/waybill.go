package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
)

// waybillCmd holds the commands about what is known of waybills.
type waybillCmd struct {
	Get   waybillGetCmd   `cmd:"" help:"Show where a parcel stands, and its trace."`
	Erase waybillEraseCmd `cmd:"" help:"Erase a waybill's personal data wherever it is kept. It can't be undone."`
	Watch waybillWatchCmd `cmd:"" help:"Show a waybill's changes as they happen, until Ctrl-C."`
}

// oneWaybill names a waybill.
type oneWaybill struct {
	remote `embed:""`

	Waybill string `arg:"" help:"CARRIER/NUMBER, such as sf-express/SF1234567890123."`
	After   uint64 `env:"-" default:"0" help:"Only events that changed after this revision."`
}

type waybillGetCmd struct {
	oneWaybill `embed:""`
}

// Run is called by kong.
func (c *waybillGetCmd) Run() error {
	name, err := waybillName(c.Waybill)
	if err != nil {
		return err
	}
	return c.with(func(ctx context.Context, conn *connection) error {
		resp, err := conn.waybills.GetWaybill(ctx, &trackingv1.GetWaybillRequest{Name: name})
		if err != nil {
			return err
		}
		if err := conn.showWaybill(resp.GetWaybill()); err != nil {
			return err
		}
		l := conn.list(eventHead...)
		return l.end(all(0, func(token string) ([]*trackingv1.TraceEvent, string, error) {
			resp, err := conn.waybills.ListTraceEvents(ctx, &trackingv1.ListTraceEventsRequest{Parent: name, AfterRevision: c.After, PageToken: token})
			return resp.GetEvents(), resp.GetNextPageToken(), err
		}, func(e *trackingv1.TraceEvent) error { return l.add(e, eventCells(e)...) }))
	})
}

func (c *connection) showWaybill(w *trackingv1.Waybill) error {
	return c.show(w, "waybill", w.GetCarrierCode()+"/"+w.GetWaybillNumber(), "status", waybillStatus(w), "revision", number(w.GetRevision()),
		"events", number(w.GetEventCount()), "changed", when(w.GetUpdateTime()))
}

func waybillStatus(w *trackingv1.Waybill) string {
	return word(w.GetStatus().String(), "STATUS_")
}

var eventHead = []string{"TIME", "REVISION", "KIND", "STATUS", "TEXT"}

func eventCells(e *trackingv1.TraceEvent) []string {
	return []string{
		e.GetTime().GetLocal(), number(e.GetRevision()), word(e.GetKind().String(), "EVENT_KIND_"), word(e.GetStatus().String(), "STATUS_"), e.GetText(),
	}
}

type waybillWatchCmd struct {
	oneWaybill `embed:""`
}

// Run is called by kong.
func (c *waybillWatchCmd) Run() error {
	name, err := waybillName(c.Waybill)
	if err != nil {
		return err
	}
	return c.with(func(ctx context.Context, conn *connection) error {
		stream, err := conn.waybills.WatchWaybill(ctx, &trackingv1.WatchWaybillRequest{Name: name, AfterRevision: c.After})
		if err != nil {
			return err
		}
		for {
			m, err := stream.Recv()
			switch {
			case ctx.Err() != nil || errors.Is(err, io.EOF):
				return nil //nolint:nilerr // Ctrl-C, or the server's end
			case err != nil:
				return err
			case m.GetWaybill() == nil: // a heartbeat
				continue
			}
			if conn.inJSON() {
				err = printMessage(conn.out, m)
			} else {
				w := m.GetWaybill()
				_, _ = fmt.Fprintf(conn.out, "%s  revision %d  %s\n", when(m.GetSendTime()), w.GetRevision(), waybillStatus(w))
				l := conn.list()
				for _, e := range m.GetEvents() {
					_ = l.add(e, append([]string{" "}, eventCells(e)...)...)
				}
				err = l.end(nil)
			}
			if err != nil {
				return err
			}
		}
	})
}
