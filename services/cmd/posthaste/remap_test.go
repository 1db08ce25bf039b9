package main

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/testkit"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/internal/wire"
)

// TestRemap_AsksForWhatTheTablesChange: of two waybills one has an event that an
// older table didn't know. It is asked for, unless the run is dry.
func TestRemap_AsksForWhatTheTablesChange(t *testing.T) {
	t.Parallel()
	js := testkit.JetStream(t)
	traces := stream.NewPublisher(js, stream.Trace, stream.PublisherOptions{})
	t.Cleanup(traces.Close)
	at := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	for number, code := range map[string]string{"SF1000000000017": "50", "SF1000000000024": "99999"} {
		tr, _ := track.Merge(nil, track.Report{Waybill: track.Waybill{Carrier: "sf-express", Number: track.Number(number)}, Events: []track.Event{{
			ID: track.EventID(number), Kind: track.KindInfo, RawCode: code, ReceiveTime: at, Time: track.Time{Wall: at, Precision: track.PrecisionSecond},
			Provenance: track.Provenance{Source: "sf", Kind: track.SourceCarrierPush, MappingVersion: "1"},
		}}}, at)
		data, err := proto.Marshal(wire.TraceUpdate(tr))
		if err != nil {
			t.Fatal(err)
		}
		if err := traces.Publish(t.Context(), stream.Message{Subject: subject.Trace("sf-express", number), Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	asked := func() uint64 {
		s, err := js.Stream(t.Context(), stream.Raw)
		if err != nil {
			t.Fatal(err)
		}
		return s.CachedInfo().State.Msgs
	}
	for _, tt := range []struct {
		cmd  remapCmd
		want string
		asks uint64
	}{
		{remapCmd{DryRun: true}, "1 events of 1 waybills would be mapped anew", 0},
		{remapCmd{Source: "zto"}, "0 events of 0 waybills", 0},
		{remapCmd{}, "sf 50 → picked_up.collected", 1},
	} {
		var out strings.Builder
		if err := tt.cmd.remap(t.Context(), js, &out); err != nil || !strings.Contains(out.String(), tt.want) || asked() != tt.asks {
			t.Errorf("%+v: %v, %d are asked for: %s", tt.cmd, err, asked(), out.String())
		}
	}
	if out, err := posthaste(t, nil, "remap", "--nats-url=nats://127.0.0.1:1"); err == nil || !strings.Contains(out, "is Posthaste running?") {
		t.Errorf("%v: %s", err, out)
	}
}
