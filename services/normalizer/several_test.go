package normalizer_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/carrier"
	pipelinev1 "github.com/posthaste/posthaste/services/internal/gen/posthaste/pipeline/v1"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/internal/wire"
)

func sourceMessage(t *testing.T, source string, kind trackingv1.SourceKind, number, body string) stream.Message {
	t.Helper()
	data, err := proto.Marshal(&pipelinev1.RawTrace{
		Source: source, SourceKind: kind, CarrierCode: carrierCode, WaybillNumber: number, Body: []byte(body), ReceiveTime: timestamppb.New(received),
	})
	if err != nil {
		t.Fatal(err)
	}
	return stream.Message{Subject: subject.Raw(source, carrierCode, number), Data: data}
}

// TestNormalizer_KeepsASecondTellingAtOneRevision: what the carrier pushed and an
// aggregator tells too is kept, and is no revision.
func TestNormalizer_KeepsASecondTellingAtOneRevision(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("normalizer-raw-0")
	const number = "SF1000000000017"
	w.publish(sourceMessage(t, "sf", trackingv1.SourceKind_SOURCE_KIND_CARRIER_PUSH, number,
		`{"id":"1","mailno":"`+number+`","acceptTime":"2026-03-01 09:00:00","remark":"已签收","opCode":"80"}`))
	w.want(number, 1, "已签收")
	w.publish(sourceMessage(t, "kdniao", trackingv1.SourceKind_SOURCE_KIND_AGGREGATOR_PUSH, number,
		`{"Traces":[{"AcceptTime":"2026-03-01 09:00:00","AcceptStation":"快件已签收","Action":"3"}]}`))
	_, u := w.next()
	if r := u.GetWaybill().GetRevision(); r != 1 || len(u.GetEvents()) != 2 {
		t.Fatalf("revision %d has %d events", r, len(u.GetEvents()))
	}
	for _, e := range u.GetEvents() {
		if duplicate := e.GetProvenance().GetSource() == "kdniao"; duplicate != (e.GetDuplicateOf() != "") {
			t.Errorf("what %s told is a duplicate of %q", e.GetProvenance().GetSource(), e.GetDuplicateOf())
		}
	}
}

// TestNormalizer_MapsHistoryAnew: an event of a code that an older table didn't
// know is mapped by today's, in a revision of its own, once.
func TestNormalizer_MapsHistoryAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const number = "SF1000000000024"
	parcel := track.Waybill{Carrier: carrierCode, Number: number}
	old, _ := track.Merge(nil, track.Report{Waybill: parcel, Events: []track.Event{{
		ID: "e1", Kind: track.KindInfo, RawCode: "50", Text: "old", ReceiveTime: received.Add(-time.Hour), OrderHint: 1,
		Time:       track.Time{Wall: received.Add(-2 * time.Hour), Precision: track.PrecisionSecond},
		Provenance: track.Provenance{Source: "sf", Kind: track.SourceCarrierPush, MappingVersion: "1"},
	}}}, received)
	data, err := proto.Marshal(wire.TraceUpdate(old))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.updates.Publish(t.Context(), stream.Message{Subject: subject.Trace(carrierCode, number), Data: data}); err != nil {
		t.Fatal(err)
	}
	w.want(number, 1, "old")
	w.start("normalizer-raw-0")
	ask := sourceMessage(t, carrier.RemapSource, trackingv1.SourceKind_SOURCE_KIND_TEAM, number, "")
	w.publish(ask)
	m, u := w.next()
	if u.GetWaybill().GetRevision() != 2 || len(u.GetEvents()) != 1 || u.GetWaybill().GetSubStatus() != trackingv1.SubStatus(status.PickedUpCollected) {
		t.Errorf("it becomes %v", u)
	}
	w.publish(ask)
	w.wantSilence(m)
}

// What is asked to be erased is so in the next revision, and neither a repeat nor what
// comes later brings it back.
func TestNormalizer_ErasesAsARevision(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("erasing")
	const number = "ERASE0001"
	w.publish(rawMessage(t, number, received, event(number, "张三丰 签收", 8)))
	w.next()
	ask := sourceMessage(t, carrier.EraseSource, trackingv1.SourceKind_SOURCE_KIND_TEAM, number, "")
	w.publish(ask)
	_, u := w.next()
	if u.GetWaybill().GetRevision() != 2 || u.GetWaybill().GetEraseTime() == nil || u.GetEvents()[0].GetText() != "" || u.GetEvents()[0].GetRevision() != 2 {
		t.Errorf("erased, it is %v", u)
	}
	w.publish(ask, rawMessage(t, number, received, event(number, "张三丰 签收", 8)), rawMessage(t, number, received, event(number, "李四 派送", 9)))
	_, u = w.next()
	if u.GetWaybill().GetRevision() != 3 || len(u.GetEvents()) != 2 || strings.Contains(u.String(), "李四") || strings.Contains(u.String(), "张三丰") {
		t.Errorf("later it is %v", u)
	}
}
