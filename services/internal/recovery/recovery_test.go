package recovery_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/recovery"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/testkit"
	"github.com/posthaste/posthaste/services/internal/track"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// update is a waybill's state at a revision, last changed some time ago.
func update(number string, revision uint64, ago time.Duration) *trackingv1.TraceUpdate {
	at := timestamppb.New(time.Now().Add(-ago))
	u := &trackingv1.TraceUpdate{Waybill: &trackingv1.Waybill{CarrierCode: "sf", WaybillNumber: number, Revision: revision, CreateTime: at, UpdateTime: at}}
	for r := uint64(1); r <= revision; r++ {
		u.Events = append(u.Events, &trackingv1.TraceEvent{Id: fmt.Sprint("e", r), Revision: r, Text: fmt.Sprint("station ", r)})
	}
	return u
}

// What TRACE lost is there again as it was projected; what is newer there stays.
func TestAll_RebuildsWhatTheStreamLost(t *testing.T) {
	t.Parallel()
	js, pool := testkit.JetStream(t), testkit.PostgreSQL(t)
	trace := stream.NewPublisher(js, stream.Trace, stream.PublisherOptions{})
	t.Cleanup(trace.Close)
	bus := pg.NewBus(pool)
	c := recovery.Config{
		Page: func(ctx context.Context, after track.Waybill, since time.Time, limit int) (page []recovery.Projected, err error) {
			err = bus.Projected(ctx, after, since, limit, func(w track.Waybill, r track.Revision) {
				page = append(page, recovery.Projected{Waybill: w, Revision: r})
			})
			return page, err
		},
		Traces: func(ctx context.Context, waybills []track.Waybill) (map[track.Waybill]*trackingv1.TraceUpdate, error) {
			return pg.Traces(ctx, pool, waybills)
		},
		Last: func(ctx context.Context, subjects []string) (map[string]stream.Stored, error) {
			return stream.LastMessages(ctx, js, stream.Trace, subjects)
		},
		Store: trace.Store, MaxAge: 24 * time.Hour, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	}
	const lost = 250 // several pages
	var updates []*trackingv1.TraceUpdate
	for i := range lost {
		updates = append(updates, update(fmt.Sprint("SFLOST", i), 3, time.Hour))
	}
	updates = append(updates, update("SFBEHIND", 3, time.Hour), update("SFNEWER", 3, time.Hour), update("SFGONE", 3, 25*time.Hour))
	testkit.Project(t, pool, updates...)
	for number, revision := range map[string]uint64{"SFBEHIND": 2, "SFNEWER": 4} {
		data, err := proto.Marshal(update(number, revision, time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		if err := trace.Publish(t.Context(), stream.Message{Subject: subject.Trace("sf", number), Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := c.All(t.Context()); err != nil || n != lost+1 {
		t.Fatalf("rebuilt %d, error %v; want %d", n, err, lost+1)
	}
	for number, revision := range map[string]uint64{"SFLOST0": 3, "SFLOST249": 3, "SFBEHIND": 3, "SFNEWER": 4} {
		m, err := stream.LastMessage(t.Context(), js, stream.Trace, subject.Trace("sf", number))
		if err != nil {
			t.Fatal(err)
		}
		var u trackingv1.TraceUpdate
		if err := proto.Unmarshal(m.Data, &u); err != nil {
			t.Fatal(err)
		}
		if u.GetWaybill().GetRevision() != revision || len(u.GetEvents()) != int(revision) {
			t.Errorf("%s has revision %d and %d events, want %d", number, u.GetWaybill().GetRevision(), len(u.GetEvents()), revision)
		}
	}
	// One that had left the stream by its age is not missed.
	if _, err := stream.LastMessage(t.Context(), js, stream.Trace, subject.Trace("sf", "SFGONE")); err == nil {
		t.Error("a waybill that had left the stream was put back")
	}
	if n, err := c.All(t.Context()); err != nil || n != 0 {
		t.Errorf("a second time it rebuilt %d, error %v; want nothing", n, err)
	}
}
