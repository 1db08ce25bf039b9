package query_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/rpc"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

func TestWaybills_AnswersFromTheStreamAndThenTheProjection(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	// The projection may be behind the stream, and holds what has left it.
	testkit.Project(t, b.pool, updateAt("SF0001", 1), updateAt("SF0002", 2))
	b.publish(updateAt("SF0001", 3))
	for number, revision := range map[string]int{"SF0001": 3, "SF0002": 2, "sf0002": 2} {
		resp, err := b.GetWaybill(t.Context(), &trackingv1.GetWaybillRequest{Name: name(number)})
		if err != nil || resp.GetWaybill().GetRevision() != uint64(revision) {
			t.Errorf("%s: got %v, %v; want revision %d", number, resp, err, revision)
		}
	}
	if _, err := b.GetWaybill(t.Context(), &trackingv1.GetWaybillRequest{Name: name("SF9999")}); reasonOf(err) != rpc.ReasonNotFound {
		t.Errorf("an unknown waybill gave %v", err)
	}
	if _, err := b.GetWaybill(t.Context(), &trackingv1.GetWaybillRequest{Name: "waybills/SF"}); reasonOf(err) != rpc.ReasonInvalid {
		t.Errorf("a bad name gave %v", err)
	}

	got, err := b.BatchGetWaybills(t.Context(), &trackingv1.BatchGetWaybillsRequest{
		Names: []string{name("SF0002"), name("SF9999"), name("SF0001"), name("SF0002")},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := &trackingv1.BatchGetWaybillsResponse{
		Waybills:     []*trackingv1.Waybill{updateAt("SF0002", 2).GetWaybill(), updateAt("SF0001", 3).GetWaybill(), updateAt("SF0002", 2).GetWaybill()},
		UnknownNames: []string{name("SF9999")},
	}
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
}

func TestBatchGetWaybills_HasALimit(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	for _, n := range []int{0, 201} {
		names := make([]string, n)
		for i := range names {
			names[i] = name("SF0001")
		}
		if _, err := b.BatchGetWaybills(t.Context(), &trackingv1.BatchGetWaybillsRequest{Names: names}); reasonOf(err) != rpc.ReasonInvalid {
			t.Errorf("%d names gave %v", n, err)
		}
	}
}

func TestListTraceEvents_PagesInOrder(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.publish(updateAt("SF0001", 7))
	for after, want := range map[uint64][]string{
		0: {"e1 e2 e3", "e4 e5 e6", "e7"}, 4: {"e5 e6 e7"}, 7: {""}, 9: {""},
	} {
		var got []string
		req := &trackingv1.ListTraceEventsRequest{Parent: name("SF0001"), AfterRevision: after, PageSize: 3}
		for {
			resp, err := b.ListTraceEvents(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			page := ""
			for _, e := range resp.GetEvents() {
				if page != "" {
					page += " "
				}
				page += e.GetId()
			}
			got = append(got, page)
			if req.PageToken = resp.GetNextPageToken(); req.GetPageToken() == "" {
				break
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("after %d: want -, got +\n%s", after, d)
		}
	}
	if _, err := b.ListTraceEvents(t.Context(), &trackingv1.ListTraceEventsRequest{Parent: name("SF0001"), PageToken: "x"}); reasonOf(err) != rpc.ReasonPageTokenInvalid {
		t.Errorf("a bad token gave %v", err)
	}
	if _, err := b.ListTraceEvents(t.Context(), &trackingv1.ListTraceEventsRequest{Parent: name("SF9999")}); reasonOf(err) != rpc.ReasonNotFound {
		t.Errorf("an unknown waybill gave %v", err)
	}
}

// An event that comes late, before what was shown, shifts nothing.
func TestListTraceEvents_PagesAreKeptByALateEvent(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	u := updateAt("SF0001", 6)
	late := proto.CloneOf(u.GetEvents()[0])
	late.Id, late.Revision = "late", 7
	b.publish(u)
	req := &trackingv1.ListTraceEventsRequest{Parent: name("SF0001"), PageSize: 2}
	var got []string
	for {
		resp, err := b.ListTraceEvents(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range resp.GetEvents() {
			got = append(got, e.GetId())
		}
		if req.PageToken = resp.GetNextPageToken(); req.GetPageToken() == "" {
			break
		}
		if len(got) == 2 {
			next := updateAt("SF0001", 6)
			next.GetWaybill().Revision = 7
			next.Events = slices.Insert(next.GetEvents(), 1, late)
			b.publish(next)
		}
	}
	if d := cmp.Diff([]string{"e1", "e2", "e3", "e4", "e5", "e6"}, got); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
}
