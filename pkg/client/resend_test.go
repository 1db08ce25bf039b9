package client_test

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/pkg/trace"
)

func TestParkedPushes_AreFilteredByIDsAndNames(t *testing.T) {
	t.Parallel()
	c := dial(t, &fake{}, client.WithTenant("shop"))
	for _, tt := range []struct {
		filter client.ParkedFilter
		want   []string
	}{
		{client.ParkedFilter{}, []string{"psh_1_2", "psh_2_2", "psh_3_2"}},
		{client.ParkedFilter{Endpoint: "ep_1", Subscription: "sub_2"}, []string{"psh_2_2"}},
		{client.ParkedFilter{Subscription: "tenants/shop/subscriptions/sub_3"}, []string{"psh_3_2"}},
		{client.ParkedFilter{Waybill: trace.ID{CarrierCode: "sf", WaybillNumber: "SF101"}, PushID: "psh_1_2"}, []string{"psh_1_2"}},
		{client.ParkedFilter{From: epoch.Add(time.Minute)}, []string{"psh_2_2", "psh_3_2"}},
	} {
		var got []string
		for p, err := range c.ParkedPushes(t.Context(), tt.filter) {
			if err != nil {
				t.Fatal(err)
			}
			if p.State != client.PushParked || p.ParkReason != "retries_spent" || p.ParkTime.Before(epoch) {
				t.Errorf("got %+v", p)
			}
			got = append(got, p.ID)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%+v gave %v, want %v", tt.filter, got, tt.want)
		}
		n, err := c.CountParkedPushes(t.Context(), tt.filter)
		group := client.ParkedGroup{Endpoint: "tenants/shop/endpoints/ep_1", Reason: "retries_spent", Count: int64(len(tt.want)), Oldest: epoch}
		if want := (client.ParkedCount{Count: group.Count, Groups: []client.ParkedGroup{group}}); err != nil || !reflect.DeepEqual(n, want) {
			t.Errorf("%+v counts %+v, %v, want %+v", tt.filter, n, err, want)
		}
	}
}

func TestPushJob_LivesItsLife(t *testing.T) {
	t.Parallel()
	f := &fake{}
	c := dial(t, f, client.WithTenant("shop"))
	made, err := c.ResendPushes(t.Context(), client.ParkedFilter{Endpoint: "ep_1", Reasons: []string{"retries_spent"}, From: epoch}, "r1")
	want := client.PushJob{
		Name: "tenants/shop/pushJobs/job_1", Kind: client.JobResend, State: client.JobRunning, Matched: 3, CreateTime: epoch,
		Filter: client.ParkedFilter{Endpoint: "tenants/shop/endpoints/ep_1", Reasons: []string{"retries_spent"}, From: epoch},
	}
	if err != nil || !reflect.DeepEqual(made, want) {
		t.Errorf("made %+v, %v, want %+v", made, err, want)
	}
	want.State, want.Sent = client.JobDone, 3
	if got, err := c.AwaitPushJob(t.Context(), made.ID()); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("ended as %+v, %v, want %+v", got, err, want)
	}
	replay, err := c.ReplayPushes(t.Context(), client.ReplayTarget{Waybill: trace.ID{CarrierCode: "sf", WaybillNumber: "SF/1"}}, 4, "")
	if err != nil || replay.Kind != client.JobReplay || replay.AfterRevision != 4 || replay.Filter.Waybill.WaybillNumber != "SF/1" {
		t.Errorf("made %+v, %v", replay, err)
	}
	if got, err := c.CancelPushJob(t.Context(), replay.Name); err != nil || got.State != client.JobCancelled {
		t.Errorf("cancelled %+v, %v", got, err)
	}
	if got, err := c.ReplayPushes(t.Context(), client.ReplayTarget{Subscription: "sub_1"}, 0, ""); err != nil || got.Filter.Subscription != "tenants/shop/subscriptions/sub_1" {
		t.Errorf("made %+v, %v", got, err)
	}
	var ids []string
	for j, err := range c.PushJobs(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, j.ID())
	}
	if !slices.Equal(ids, []string{"job_1", "job_2", "job_3"}) {
		t.Errorf("there are %v", ids)
	}
	if _, err := c.GetPushJob(t.Context(), "job_9"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("error is %v, want %v", err, client.ErrNotFound)
	}
	if f.requestIDs["r1"] != 1 || len(f.requestIDs) < 3 {
		t.Errorf("the request ids are %v", f.requestIDs)
	}
}

func TestPushStatistics_AreOfATenantOrAPartOfIt(t *testing.T) {
	t.Parallel()
	c := dial(t, &fake{}, client.WithTenant("shop"))
	for parent, name := range map[string]string{"": "tenants/shop", "ep_1": "tenants/shop/endpoints/ep_1", "sub_1": "tenants/shop/subscriptions/sub_1"} {
		got, err := c.PushStatistics(t.Context(), parent)
		want := client.PushStatistics{
			Subscriptions: int64(len(name)), Accepted: 21, Waiting: 1, InFlight: 2, Pending: 3, Acknowledged: 4, Parked: 5, Cancelled: 6,
			PendingPushes: 7, ParkedPushes: 8, OldestPending: epoch,
		}
		if err != nil || got != want {
			t.Errorf("%q gives %+v, %v, want %+v", parent, got, err, want)
		}
	}
}

func TestRotateSecret_ShowsTheNewOneAndUntilWhenTheOldIsLive(t *testing.T) {
	t.Parallel()
	c := dial(t, &fake{})
	made, err := c.CreateEndpoint(t.Context(), client.NewEndpoint{URL: "https://example.com/cb", Scheme: client.SchemeEd25519})
	if err != nil || made.Scheme != client.SchemeEd25519 {
		t.Fatalf("made %+v, %v", made, err)
	}
	for _, tt := range []struct {
		rotation client.Rotation
		until    time.Time
	}{
		{client.Rotation{}, epoch.Add(24 * time.Hour)},
		{client.Rotation{Overlap: time.Hour, Scheme: client.SchemeHMAC}, epoch.Add(time.Hour)},
		{client.Rotation{Now: true, Secret: "whsec_given"}, time.Time{}},
	} {
		got, err := c.RotateSecret(t.Context(), made.ID(), tt.rotation)
		if err != nil || got.Secret == made.Secret || got.Scheme != tt.rotation.Scheme || !got.OldSecretExpireTime.Equal(tt.until) {
			t.Errorf("%+v gives %+v, %v", tt.rotation, got, err)
		}
	}
}
