package pg_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/testkit"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/internal/wire"
)

var erasable = track.Waybill{Carrier: "sf", Number: "SF0001"}

// projected is a trace with a name in it, as it is projected.
func projected(t *testing.T, now time.Time) *wire.Split {
	t.Helper()
	e := track.Event{
		ID: "1", Kind: track.KindEvent, Time: track.Time{Wall: now, Precision: track.PrecisionSecond}, ReceiveTime: now, Status: status.Delivered, RawCode: "80",
		Text: "张三丰 签收", Signer: "张三丰",
	}
	trace, _ := track.Merge(nil, track.Report{Waybill: erasable, Events: []track.Event{e}}, now)
	data, err := proto.Marshal(wire.TraceUpdate(trace))
	if err != nil {
		t.Fatal(err)
	}
	split, err := wire.SplitUpdate(data)
	if err != nil {
		t.Fatal(err)
	}
	return split
}

func TestExpire_TakesTheTextsAndLeavesWhatIsCounted(t *testing.T) {
	t.Parallel()
	ctx, pool := t.Context(), testkit.PostgreSQL(t)
	s, now := pg.NewErasures(pool), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	if err := pg.Project(ctx, pool, []*wire.Split{projected(t, now)}); err != nil {
		t.Fatal(err)
	}
	for age, want := range map[time.Duration]int{-time.Second: 0, time.Second: 1} {
		if old, _, err := s.OldTraces(ctx, track.Waybill{}, now.Add(age), 10); err != nil || len(old) != want {
			t.Errorf("by %s there are %d old traces, %v", age, len(old), err)
		}
	}
	later := now.Add(time.Hour)
	if err := s.Expire(ctx, erasable, 2, later); err != nil { // of another revision
		t.Fatal(err)
	}
	found, err := pg.Traces(ctx, pool, []track.Waybill{erasable})
	if err != nil || found[erasable].GetEvents()[0].GetText() == "" {
		t.Fatalf("what changed meanwhile was expired: %v, %v", found, err)
	}
	if err := s.Expire(ctx, erasable, 1, later); err != nil {
		t.Fatal(err)
	}
	if found, err = pg.Traces(ctx, pool, []track.Waybill{erasable}); err != nil {
		t.Fatal(err)
	}
	got := found[erasable]
	if text := got.String(); strings.Contains(text, "张三丰") {
		t.Errorf("left is %s", text)
	}
	w, e := got.GetWaybill(), got.GetEvents()[0]
	if w.GetRevision() != 1 || !w.GetTerminal() || w.GetEventCount() != 1 || len(w.GetMilestones()) != 1 || w.GetEraseTime() == nil || e.GetStatus() != w.GetStatus() || e.GetRawCode() != "80" {
		t.Errorf("what is counted is gone: %v", got)
	}
	if old, _, err := s.OldTraces(ctx, track.Waybill{}, later, 10); err != nil || len(old) != 0 {
		t.Errorf("it is expired again and again: %v, %v", old, err)
	}
	// The chain goes on from it, and a repeat of what was expired is silent.
	trace, err := wire.Trace(got)
	if err != nil {
		t.Fatal(err)
	}
	full, err := projected(t, now).Since(0)
	if err != nil {
		t.Fatal(err)
	}
	if _, changed := track.Merge(trace, track.Report{Waybill: erasable, Events: full.Events}, later); changed {
		t.Error("a repeat brings the text back")
	}
}

func TestSweep_ForgetsBodiesAndKeepsWhatIsOwed(t *testing.T) {
	t.Parallel()
	ctx, pool := t.Context(), testkit.PostgreSQL(t)
	s, now := pg.NewErasures(pool), time.Now()
	for _, query := range []string{
		`INSERT INTO tenant (id) VALUES ('a')`,
		`INSERT INTO endpoint (id, tenant_id, url, secret) VALUES ('e', 'a', 'https://example.com', 's')`,
		`INSERT INTO subscription (id, tenant_id, endpoint_id, carrier_code, waybill_number, expire_time, terms)
			VALUES ('s', 'a', 'e', 'sf', 'SF0001', now() + interval '1 day', '{"phone": "1234", "company": "sf"}')`,
		`INSERT INTO owed_push (subscription_id, endpoint_id, slot, tenant_id, carrier_code, waybill_number, after_revision, revision, attempt_count, attempt_revision, body, receive_time, next_attempt_time)
			VALUES ('s', 'e', 1, 'a', 'sf', 'SF0001', 0, 1, 2, 1, '\x61', now(), now())`,
		`INSERT INTO attempt (id, push_id, subscription_id, endpoint_id, tenant_id, carrier_code, waybill_number, after_revision, revision, number, attempt_time, duration, outcome, http_status, error_class, error, response_excerpt)
			VALUES ('1', 'p', 's', 'e', 'a', 'sf', 'SF0001', 0, 1, 1, now(), '1 s', 2, 500, 'http_status', 'HTTP 500', 'who signed')`,
	} {
		if _, err := pool.Exec(ctx, query); err != nil {
			t.Fatal(err)
		}
	}
	if owed, err := s.Owes(ctx, erasable); err != nil || !owed {
		t.Errorf("it is owed: %t, %v", owed, err)
	}
	if found, err := s.Sweep(ctx, erasable, 2); err != nil || found != (pg.Swept{Owed: 1, Bodies: 1}) {
		t.Errorf("found was %+v, %v", found, err)
	}
	var ok bool
	const left = `SELECT o.body IS NULL AND o.attempt_count = 0 AND o.after_revision = 0 AND o.revision = 1 AND a.response_excerpt = '' AND a.http_status = 500 AND s.terms = '{"company": "sf"}'
		FROM owed_push o, attempt a, subscription s`
	if err := pool.QueryRow(ctx, left).Scan(&ok); err != nil || !ok {
		t.Errorf("what is left isn't as it must be: %v", err)
	}
	for tenant, want := range map[string]error{"a": nil, "b": pg.ErrNotSubscribed, "": nil} {
		if _, err := s.Request(ctx, erasable, tenant, now); !errors.Is(err, want) {
			t.Errorf("asked by %q it is answered %v", tenant, err)
		}
	}
	for _, query := range []string{
		`INSERT INTO tenant (id) VALUES ('b')`, `INSERT INTO endpoint (id, tenant_id, url, secret) VALUES ('f', 'b', 'https://example.com', 's')`,
		`INSERT INTO subscription (id, tenant_id, endpoint_id, carrier_code, waybill_number, expire_time) VALUES ('t', 'b', 'f', 'sf', 'SF0001', now() + interval '1 day')`,
	} {
		if _, err := pool.Exec(ctx, query); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Request(ctx, erasable, "a", now); !errors.Is(err, pg.ErrNotAlone) {
		t.Errorf("of what another follows too it is answered %v", err)
	}
}

func TestAudit_IsAppendOnly(t *testing.T) {
	t.Parallel()
	ctx, pool := t.Context(), testkit.PostgreSQL(t)
	const add = `INSERT INTO audit_event (event_time, actor, action, resource, tenant_id, request_id, source_address) VALUES (now() - $1::interval, 'a', 'b', 'c', '', '', '')`
	for _, age := range []string{"1 day", "40 days", "400 days"} {
		if _, err := pool.Exec(ctx, add, age); err != nil {
			t.Fatal(err)
		}
	}
	for _, query := range []string{`UPDATE audit_event SET actor = 'x'`, `DELETE FROM audit_event`, `TRUNCATE audit_event`} {
		if _, err := pool.Exec(ctx, query); err == nil {
			t.Errorf("%s is allowed", query)
		}
	}
	s := pg.NewErasures(pool)
	if n, err := s.ForgetAudit(ctx, time.Now().Add(-365*24*time.Hour), 100); err != nil || n != 1 {
		t.Errorf("%d entries are forgotten, %v", n, err)
	}
	if n, err := s.ForgetAudit(ctx, time.Now(), 100); err != nil || n != 1 {
		t.Errorf("%d entries of the last 30 days and before are forgotten, %v", n, err)
	}
}
