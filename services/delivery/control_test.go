package delivery_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

// replay asks for what a subscription was pushed after a revision, as the owner
// does.
func (b *bundle) replay(sub, endpoint string) {
	b.t.Helper()
	b.exec(`INSERT INTO owed_push AS o (subscription_id, endpoint_id, slot, tenant_id, carrier_code, waybill_number, after_revision, revision, receive_time, next_attempt_time)
		SELECT s.id, s.endpoint_id, $4, s.tenant_id, s.carrier_code, s.waybill_number, $3, $5, now(), now() FROM subscription s WHERE s.id = $1 AND s.endpoint_id = $2
		ON CONFLICT (subscription_id) DO UPDATE SET after_revision = least(o.after_revision, $3), attempt_count = 0, attempt_revision = 0, body = NULL,
			first_attempt_time = NULL, next_attempt_time = now(), park_time = NULL, park_reason = ''`,
		sub, endpoint, 0, int16(subject.EndpointSlot(endpoint)), int64(b.traces[sub].Revision))
	b.exec(`UPDATE endpoint SET resend_time = $2 WHERE id = $1`, endpoint, time.Now())
}

// A replay is asked for while a push of the same subscription is in an attempt;
// however that ends, all of the range comes.
func TestDelivery_AReplayAskedForDuringAnAttemptIsNotLost(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		status int
	}{{"acknowledged", 200}, {"refused", 500}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			rc := testkit.NewReceiver(t)
			b.endpoint("ep_1", rc.URL)
			b.subscribe("sub_1", "ep_1")
			b.deliver()
			b.send("sub_1", "ep_1")
			rc.Next()
			b.stored(`SELECT EXISTS (SELECT 1 FROM acknowledged WHERE subscription_id = 'sub_1')`)

			asked := make(chan struct{})
			rc.Script(func(w http.ResponseWriter, _ *http.Request, ended <-chan struct{}) {
				select {
				case <-asked:
				case <-ended:
				}
				w.WriteHeader(tt.status)
			})
			b.send("sub_1", "ep_1")
			rc.Next()
			b.replay("sub_1", "ep_1")
			close(asked)
			for p := decode(t, rc.Next()); p.AfterRevision != 0 || p.Revision != 2; p = decode(t, rc.Next()) {
				// The repeat of what was refused may come first.
			}
			b.stored(`SELECT NOT EXISTS (SELECT 1 FROM owed_push)`)
		})
	}
}

// While both keys are live every push is signed by both, and after the old one's
// time by the new one alone, without anybody saying so.
func TestDelivery_SignsWithEveryLiveKey(t *testing.T) {
	t.Parallel()
	b := setup(t)
	rc := testkit.NewReceiver(t)
	b.endpoint("ep_1", rc.URL)
	b.subscribe("sub_1", "ep_1")
	b.deliver()
	b.send("sub_1", "ep_1")
	if got := signatures(rc.Next()); got != "v1" {
		t.Errorf("signed by %s before", got)
	}
	until := time.Now().Add(time.Second)
	b.exec(`UPDATE endpoint SET old_secret = secret, old_secret_expire_time = $2, secret = $1 WHERE id = 'ep_1'`, webhook.NewPrivateKey(), until)
	both, newest := false, false
	for !newest {
		b.send("sub_1", "ep_1")
		now := time.Now()
		switch got := signatures(rc.Next()); {
		case got == "v1" && !both && now.Before(until): // not read yet
		case got == "v1a v1" && now.Before(until):
			both = true
		case got == "v1a" && !time.Now().Before(until):
			newest = true
		case got != "v1a v1" || time.Now().Before(until):
			t.Fatalf("signed by %s, %s before the old key's time", got, until.Sub(now))
		}
	}
	if !both {
		t.Error("no push was signed by both keys")
	}
}

// signatures are the versions in a request's header.
func signatures(r testkit.Request) string {
	var versions []string
	for s := range strings.FieldsSeq(r.Header.Get(webhook.HeaderSignature)) {
		v, _, _ := strings.Cut(s, ",")
		versions = append(versions, v)
	}
	return strings.Join(versions, " ")
}

// The log says how long the parts of an attempt took.
func TestDelivery_LogsThePhasesOfAnAttempt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	rc := testkit.NewReceiver(t)
	b.endpoint("ep_1", rc.URL)
	b.subscribe("sub_1", "ep_1")
	b.deliver()
	for range 2 {
		b.send("sub_1", "ep_1")
		rc.Next()
	}
	b.stored(`SELECT count(*) = 2 AND bool_and(first_byte_us > 0) AND bool_or(connect_us > 0 AND NOT reused) FROM attempt`)
}

// A disabled endpoint's rows are parked, also when it was disabled while nobody
// had the shard.
func TestDelivery_WhatIsOwedToADisabledEndpointIsParked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.endpoint("ep_1", "https://callback.example/")
	b.subscribe("sub_1", "ep_1")
	b.happen("sub_1")
	b.replay("sub_1", "ep_1")
	b.exec(`UPDATE endpoint SET state = 3 WHERE id = 'ep_1'`)
	b.deliver()
	b.stored(`SELECT park_reason = 'endpoint_gone' FROM owed_push WHERE subscription_id = 'sub_1'`)
	b.replay("sub_1", "ep_1")
	b.stored(`SELECT park_reason = 'endpoint_gone' FROM owed_push WHERE subscription_id = 'sub_1'`)
}

func TestDelivery_LooksAtAnEndpointThatItHasNoLaneOf(t *testing.T) {
	t.Parallel()
	b := setup(t)
	rc := testkit.NewReceiver(t)
	b.deliver()
	for i := range 3 {
		ep, sub := fmt.Sprint("ep_", i), fmt.Sprint("sub_", i)
		b.endpoint(ep, rc.URL)
		b.subscribe(sub, ep)
		b.happen(sub)
		b.replay(sub, ep)
		if p := decode(t, rc.Next()); p.SubscriptionID != sub || p.AfterRevision != 0 || p.Revision != 1 {
			t.Errorf("got %s (%d, %d]", p.SubscriptionID, p.AfterRevision, p.Revision)
		}
	}
}

// An endpoint that failed is left alone for long; its owner's word ends that.
func TestDelivery_TriesAnEndpointThatItsOwnerResendsTo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	rc := testkit.NewReceiver(t)
	rc.Always(testkit.Status(http.StatusInternalServerError))
	b.endpoint("ep_1", rc.URL)
	b.exec(`UPDATE endpoint SET retry_policy = '{"delays": [3600000000000]}'`)
	const subs = 6
	for i := range subs {
		b.subscribe(fmt.Sprint("sub_", i), "ep_1")
	}
	b.deliver()
	for i := range subs {
		b.send(fmt.Sprint("sub_", i), "ep_1")
	}
	b.stored(`SELECT count(*) = $1 FROM owed_push`, subs)
	rc.Always(testkit.Status(http.StatusOK))
	b.replay("sub_0", "ep_1")
	b.stored(`SELECT count(*) = $1 FROM acknowledged`, subs)
}
