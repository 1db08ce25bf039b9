package resend_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	deliveryv1 "github.com/posthaste/posthaste/pkg/api/posthaste/delivery/v1"
	"github.com/posthaste/posthaste/services/internal/auth"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/rpc"
	"github.com/posthaste/posthaste/services/internal/testkit"
	"github.com/posthaste/posthaste/services/resend"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const parent = "tenants/acme"

var epoch = time.Date(2025, 3, 1, 0, 0, 0, 0, time.UTC)

// bundle is the service on a database of its own. The test plays delivery.
type bundle struct {
	*resend.Pushes

	t    testing.TB
	pool *pgxpool.Pool
}

// setup makes a service with small batches and what a test changes, which works on
// jobs until the test ends.
func setup(t testing.TB, change ...func(*resend.Config)) *bundle {
	t.Helper()
	b := &bundle{t: t, pool: testkit.PostgreSQL(t)}
	b.exec(`INSERT INTO tenant (id) VALUES ('acme'), ('other')`)
	cfg := resend.Config{
		Store: pg.NewResending(b.pool), Log: slog.New(slog.DiscardHandler), Now: time.Now, Batch: 3, Rest: time.Millisecond, Look: 20 * time.Millisecond,
	}
	for _, f := range change {
		f(&cfg)
	}
	b.Pushes = resend.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the service ended with %v", err)
		}
	})
	return b
}

func (b *bundle) exec(query string, args ...any) {
	b.t.Helper()
	if _, err := b.pool.Exec(b.t.Context(), query, args...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bundle) endpoint(id, tenant string, state int) {
	b.t.Helper()
	b.exec(`INSERT INTO endpoint (id, tenant_id, url, secret, state) VALUES ($1, $2, 'https://callback.example', 's', $3)`, id, tenant, state)
}

// subscription adds one that was pushed up to a revision and acknowledged up to
// another.
func (b *bundle) subscription(id, endpoint, number string, state, pushed, acknowledged int) {
	b.t.Helper()
	b.exec(`INSERT INTO subscription (id, tenant_id, endpoint_id, carrier_code, waybill_number, state, pushed_revision, expire_time)
		SELECT $1, tenant_id, id, 'sf', $3, $4, $5, now() FROM endpoint WHERE id = $2`, id, endpoint, number, state, pushed)
	if acknowledged > 0 {
		b.exec(`INSERT INTO acknowledged VALUES ($1, $2, now())`, id, acknowledged)
	}
}

// parked parks the range (after, revision] of a subscription, so many minutes
// after the epoch. The minute -1 leaves it pending.
func (b *bundle) parked(sub string, after, revision, minute int, reason string) {
	b.t.Helper()
	park, next := new(epoch.Add(time.Duration(minute)*time.Minute)), (*time.Time)(nil)
	if minute < 0 {
		park, next = nil, new(epoch.Add(time.Hour))
	}
	b.exec(`INSERT INTO owed_push (subscription_id, endpoint_id, slot, tenant_id, carrier_code, waybill_number, after_revision, revision,
			attempt_count, attempt_revision, body, receive_time, first_attempt_time, last_attempt_time, next_attempt_time, park_time, park_reason)
		SELECT id, endpoint_id, 7, tenant_id, carrier_code, waybill_number, $2, $3, 2, $3, 'x', $7, $7, $7, $4, $5, $6 FROM subscription WHERE id = $1`,
		sub, after, revision, next, park, reason, epoch)
}

// rows are what is owed, a line each.
func (b *bundle) rows() []string {
	b.t.Helper()
	rows, err := b.pool.Query(b.t.Context(), `SELECT subscription_id || ' (' || after_revision || ',' || revision || '] ' ||
		CASE WHEN park_time IS NOT NULL THEN 'parked' WHEN attempt_count = 0 AND body IS NULL AND next_attempt_time <= now() THEN 'due' ELSE 'pending' END
		FROM owed_push ORDER BY subscription_id`)
	if err != nil {
		b.t.Fatal(err)
	}
	var lines []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			b.t.Fatal(err)
		}
		lines = append(lines, line)
	}
	return lines
}

func (b *bundle) resend(f *deliveryv1.ParkedFilter, requestID string) *deliveryv1.PushJob {
	b.t.Helper()
	resp, err := b.ResendPushes(b.t.Context(), &deliveryv1.ResendPushesRequest{Parent: parent, Filter: f, RequestId: requestID})
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.GetJob()
}

func (b *bundle) replay(req *deliveryv1.ReplayPushesRequest) *deliveryv1.PushJob {
	b.t.Helper()
	req.Parent = parent
	resp, err := b.ReplayPushes(b.t.Context(), req)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.GetJob()
}

// done waits until a job has ended.
func (b *bundle) done(j *deliveryv1.PushJob) *deliveryv1.PushJob {
	b.t.Helper()
	ticks := time.NewTicker(5 * time.Millisecond)
	defer ticks.Stop()
	for {
		resp, err := b.GetPushJob(b.t.Context(), &deliveryv1.GetPushJobRequest{Name: j.GetName()})
		if err != nil {
			b.t.Fatal(err)
		}
		if resp.GetJob().GetState() != deliveryv1.PushJobState_PUSH_JOB_STATE_RUNNING {
			return resp.GetJob()
		}
		select {
		case <-ticks.C:
		case <-b.t.Context().Done():
			b.t.Fatalf("the test ended before %v", resp.GetJob())
		}
	}
}

func counts(j *deliveryv1.PushJob) string {
	return fmt.Sprintf("%s matched %d sent %d skipped %d", j.GetState(), j.GetMatchedCount(), j.GetSentCount(), j.GetSkippedCount())
}

func reasonOf(err error) string {
	if e, ok := errors.AsType[*rpc.Error](err); ok {
		return e.Reason
	}
	return fmt.Sprint(err)
}

const (
	enabled  = pg.EndpointEnabled
	disabled = pg.EndpointDisabled
)

// some parks a few pushes of two tenants.
func (b *bundle) some() {
	b.t.Helper()
	b.endpoint("ep_a", "acme", enabled)
	b.endpoint("ep_b", "acme", disabled)
	b.endpoint("ep_o", "other", enabled)
	for i := 1; i <= 5; i++ {
		sub := fmt.Sprint("sub_a", i)
		b.subscription(sub, "ep_a", fmt.Sprint("SF000", i), pg.SubscriptionActive, 4, 1)
		b.parked(sub, 1, 4, 10*i, "retries_spent")
	}
	b.subscription("sub_b1", "ep_b", "SF0001", pg.SubscriptionActive, 2, 0)
	b.parked("sub_b1", 0, 2, 5, "endpoint_gone")
	b.subscription("sub_c1", "ep_a", "SF0009", pg.SubscriptionCancelled, 2, 0)
	b.parked("sub_c1", 0, 2, 6, "retries_spent")
	b.subscription("sub_p1", "ep_a", "SF0010", pg.SubscriptionActive, 2, 0)
	b.parked("sub_p1", 0, 2, -1, "")
	b.subscription("sub_o1", "ep_o", "SF0001", pg.SubscriptionActive, 2, 0)
	b.parked("sub_o1", 0, 2, 7, "retries_spent")
}

func minute(n int) *timestamppb.Timestamp {
	return timestamppb.New(epoch.Add(time.Duration(n) * time.Minute))
}

func TestParked_IsFilteredCountedAndPaged(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.some()
	type filter = deliveryv1.ParkedFilter
	for _, tt := range []struct {
		filter *filter
		want   []string
	}{
		{nil, []string{"psh_b1_2", "psh_a1_4", "psh_a2_4", "psh_a3_4", "psh_a4_4", "psh_a5_4"}},
		{&filter{Endpoint: "tenants/acme/endpoints/ep_b"}, []string{"psh_b1_2"}},
		{&filter{Subscription: "tenants/acme/subscriptions/sub_a2"}, []string{"psh_a2_4"}},
		{&filter{Subscription: "tenants/acme/subscriptions/sub_o1"}, nil},
		{&filter{PushId: "psh_a2_4"}, []string{"psh_a2_4"}},
		{&filter{PushId: "psh_a2_3"}, []string{"psh_a2_4"}},
		{&filter{PushId: "psh_a2_1"}, nil},
		{&filter{Waybill: "waybills/sf/sf0001"}, []string{"psh_b1_2", "psh_a1_4"}},
		{&filter{Reasons: []string{"endpoint_gone", "trace_missing"}}, []string{"psh_b1_2"}},
		{&filter{StartTime: minute(20), EndTime: minute(40)}, []string{"psh_a2_4", "psh_a3_4"}},
	} {
		for _, size := range []int32{1, 2, 100} {
			var got []string
			req := &deliveryv1.ListParkedPushesRequest{Parent: parent, Filter: tt.filter, PageSize: size}
			for {
				resp, err := b.ListParkedPushes(t.Context(), req)
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range resp.GetParkedPushes() {
					got = append(got, p.GetPush().GetId())
				}
				if req.PageToken = resp.GetNextPageToken(); req.GetPageToken() == "" {
					break
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("%v, %d a page: want -, got +\n%s", tt.filter, size, d)
			}
		}
		resp, err := b.CountParkedPushes(t.Context(), &deliveryv1.CountParkedPushesRequest{Parent: parent, Filter: tt.filter})
		if err != nil || resp.GetCount() != int64(len(tt.want)) {
			t.Errorf("%v: counted %v, %v; want %d", tt.filter, resp, err, len(tt.want))
		}
	}
	resp, err := b.CountParkedPushes(t.Context(), &deliveryv1.CountParkedPushesRequest{Parent: parent})
	if err != nil {
		t.Fatal(err)
	}
	want := &deliveryv1.CountParkedPushesResponse{Count: 6, Groups: []*deliveryv1.CountParkedPushesResponse_Group{
		{Endpoint: "tenants/acme/endpoints/ep_a", Reason: "retries_spent", Count: 5, OldestParkTime: minute(10)},
		{Endpoint: "tenants/acme/endpoints/ep_b", Reason: "endpoint_gone", Count: 1, OldestParkTime: minute(5)},
	}}
	if d := cmp.Diff(want, resp, protocmp.Transform()); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
}

// All of an endpoint go in several batches, those at a disabled one stay, and
// nobody else's are touched.
func TestResend_MakesWhatIsParkedDue(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.some()
	j := b.resend(nil, "r1")
	if got, want := counts(b.done(j)), "PUSH_JOB_STATE_DONE matched 6 sent 5 skipped 1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	want := []string{
		"sub_a1 (1,4] due", "sub_a2 (1,4] due", "sub_a3 (1,4] due", "sub_a4 (1,4] due", "sub_a5 (1,4] due",
		"sub_b1 (0,2] parked", "sub_c1 (0,2] parked", "sub_o1 (0,2] parked", "sub_p1 (0,2] pending",
	}
	if d := cmp.Diff(want, b.rows()); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
	var woken []string
	if err := b.pool.QueryRow(t.Context(), `SELECT array_agg(id) FROM endpoint WHERE resend_time IS NOT NULL`).Scan(&woken); err != nil || len(woken) != 1 || woken[0] != "ep_a" {
		t.Errorf("delivery looks at %v, %v", woken, err)
	}
	// A repeat is answered with the same job, and what is parked again stays so.
	b.exec(`UPDATE owed_push SET park_time = now(), next_attempt_time = NULL WHERE subscription_id = 'sub_a1'`)
	if again := b.resend(nil, "r1"); again.GetName() != j.GetName() {
		t.Errorf("a repeat made %v", again)
	}
	if got := b.rows()[0]; got != "sub_a1 (1,4] parked" {
		t.Errorf("after a repeat there is %s", got)
	}
	if _, err := b.ResendPushes(t.Context(), &deliveryv1.ResendPushesRequest{Parent: parent, RequestId: "r1", Filter: &deliveryv1.ParkedFilter{PushId: "psh_a1_4"}}); reasonOf(err) != rpc.ReasonRequestIDReused {
		t.Errorf("another request with the id gave %v", err)
	}
	if got := counts(b.resend(&deliveryv1.ParkedFilter{PushId: "psh_a1_4"}, "")); got != "PUSH_JOB_STATE_DONE matched 1 sent 1 skipped 0" {
		t.Errorf("one alone: %s", got)
	}
}

// What delivery is writing is waited for in the next batch, without blocking.
func TestResend_PassesOverWhatIsBeingWritten(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.some()
	tx, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `UPDATE owed_push SET receive_time = now() WHERE subscription_id = 'sub_a2'`); err != nil {
		t.Fatal(err)
	}
	j := b.resend(&deliveryv1.ParkedFilter{Endpoint: "tenants/acme/endpoints/ep_a"}, "")
	if j.GetState() != deliveryv1.PushJobState_PUSH_JOB_STATE_RUNNING {
		t.Errorf("got %v", j)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := counts(b.done(j)), "PUSH_JOB_STATE_DONE matched 5 sent 5 skipped 0"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestReplay_MakesRowsOfWhatWasPushed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		req  *deliveryv1.ReplayPushesRequest
		want []string
		job  string
	}{
		{
			"a subscription from its beginning", &deliveryv1.ReplayPushesRequest{Subscription: parent + "/subscriptions/sub_1"},
			[]string{"sub_1 (0,5] due", "sub_2 (3,4] parked"},
			"matched 1 sent 1 skipped 0",
		},
		{
			"one of which nothing newer was pushed", &deliveryv1.ReplayPushesRequest{Subscription: parent + "/subscriptions/sub_1", AfterRevision: 5},
			[]string{"sub_2 (3,4] parked"},
			"matched 1 sent 0 skipped 1",
		},
		{
			"one that is parked", &deliveryv1.ReplayPushesRequest{Subscription: parent + "/subscriptions/sub_2", AfterRevision: 1},
			[]string{"sub_2 (1,4] due"},
			"matched 1 sent 1 skipped 0",
		},
		{
			"one that is parked, from later", &deliveryv1.ReplayPushesRequest{Subscription: parent + "/subscriptions/sub_2", AfterRevision: 3},
			[]string{"sub_2 (3,4] due"},
			"matched 1 sent 1 skipped 0",
		},
		{
			"a waybill: the newest of each endpoint", &deliveryv1.ReplayPushesRequest{Waybill: "waybills/sf/SF0001", AfterRevision: 2},
			[]string{"sub_1 (2,5] due", "sub_2 (3,4] parked", "sub_5 (2,6] due"},
			"matched 3 sent 2 skipped 1",
		},
		{
			"an endpoint", &deliveryv1.ReplayPushesRequest{Endpoint: parent + "/endpoints/ep_a"},
			[]string{"sub_1 (0,5] due", "sub_2 (0,4] due", "sub_6 (0,1] due", "sub_7 (0,1] due"},
			"matched 5 sent 4 skipped 1",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.endpoint("ep_a", "acme", enabled)
			b.endpoint("ep_b", "acme", enabled)
			b.endpoint("ep_c", "acme", disabled)
			b.endpoint("ep_o", "other", enabled)
			b.subscription("sub_0", "ep_a", "SF0001", pg.SubscriptionCompleted, 3, 3)
			b.subscription("sub_1", "ep_a", "SF0001", pg.SubscriptionActive, 5, 5)
			b.subscription("sub_2", "ep_a", "SF0002", pg.SubscriptionActive, 4, 3)
			b.parked("sub_2", 3, 4, 1, "retries_spent")
			b.subscription("sub_3", "ep_b", "SF0001", pg.SubscriptionExpired, 6, 6)
			b.subscription("sub_4", "ep_b", "SF0001", pg.SubscriptionCancelled, 6, 6)
			b.subscription("sub_5", "ep_b", "SF0001", pg.SubscriptionCompleted, 6, 6)
			b.subscription("sub_6", "ep_a", "SF0006", pg.SubscriptionActive, 1, 1)
			b.subscription("sub_7", "ep_a", "SF0007", pg.SubscriptionActive, 1, 1)
			b.subscription("sub_8", "ep_a", "SF0008", pg.SubscriptionActive, 0, 0)
			b.subscription("sub_9", "ep_c", "SF0001", pg.SubscriptionActive, 5, 5)
			b.subscription("sub_o", "ep_o", "SF0001", pg.SubscriptionActive, 5, 5)
			j := b.done(b.replay(tt.req))
			if d := cmp.Diff(tt.want, b.rows()); d != "" {
				t.Errorf("want -, got +\n%s", d)
			}
			if got, want := counts(j), "PUSH_JOB_STATE_DONE "+tt.job; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestJobs_AreRefusedWhenTheyCantBeDone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.some()
	b.subscription("sub_h", "ep_a", "SF0011", pg.SubscriptionPaused, 1, 1)
	for _, tt := range []struct {
		name, want string
		req        any
	}{
		{"a disabled endpoint", rpc.ReasonPrecondition, &deliveryv1.ParkedFilter{Endpoint: parent + "/endpoints/ep_b"}},
		{"a subscription of one", rpc.ReasonPrecondition, &deliveryv1.ParkedFilter{Subscription: parent + "/subscriptions/sub_b1"}},
		{"a cancelled subscription", rpc.ReasonPrecondition, &deliveryv1.ParkedFilter{Subscription: parent + "/subscriptions/sub_c1"}},
		{"an unknown endpoint", rpc.ReasonNotFound, &deliveryv1.ParkedFilter{Endpoint: parent + "/endpoints/ep_x"}},
		{"another tenant's by its id", rpc.ReasonNotFound, &deliveryv1.ParkedFilter{Subscription: parent + "/subscriptions/sub_o1"}},
		{"another tenant's by its name", rpc.ReasonInvalid, &deliveryv1.ParkedFilter{Endpoint: "tenants/other/endpoints/ep_o"}},
		{"no push", rpc.ReasonInvalid, &deliveryv1.ParkedFilter{PushId: "psh_a1"}},
		{"a push of another", rpc.ReasonInvalid, &deliveryv1.ParkedFilter{PushId: "psh_a1_1", Subscription: parent + "/subscriptions/sub_a2"}},
		{"too many reasons", rpc.ReasonInvalid, &deliveryv1.ParkedFilter{Reasons: make([]string, 21)}},
		{"a paused subscription", rpc.ReasonPrecondition, &deliveryv1.ReplayPushesRequest{Subscription: parent + "/subscriptions/sub_h"}},
		{"nothing", rpc.ReasonInvalid, &deliveryv1.ReplayPushesRequest{}},
		{"two things", rpc.ReasonInvalid, &deliveryv1.ReplayPushesRequest{Waybill: "waybills/sf/SF0001", Endpoint: parent + "/endpoints/ep_a"}},
		{"a revision beyond all", rpc.ReasonInvalid, &deliveryv1.ReplayPushesRequest{Waybill: "waybills/sf/SF0001", AfterRevision: 1 << 63}},
	} {
		var err error
		switch req := tt.req.(type) {
		case *deliveryv1.ParkedFilter:
			_, err = b.ResendPushes(t.Context(), &deliveryv1.ResendPushesRequest{Parent: parent, Filter: req})
		case *deliveryv1.ReplayPushesRequest:
			req.Parent = parent
			_, err = b.ReplayPushes(t.Context(), req)
		}
		if got := reasonOf(err); got != tt.want {
			t.Errorf("%s gave %s, want %s", tt.name, got, tt.want)
		}
	}
	if resp, err := b.ListPushJobs(t.Context(), &deliveryv1.ListPushJobsRequest{Parent: parent}); err != nil || len(resp.GetJobs()) != 0 {
		t.Errorf("there are jobs of what was refused: %v, %v", resp, err)
	}
}

// Each job says who asked for it, in the list of jobs and in the audit log.
func TestJobs_AreLimitedCancelledAndAudited(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *resend.Config) { c.Running, c.PerMinute, c.Rest = 1, 2, time.Hour })
	b.some()
	ctx := auth.WithCall(t.Context(), auth.Call{Principal: auth.Principal{Name: "tenants/acme/keys/k1"}})
	resp, err := b.ResendPushes(ctx, &deliveryv1.ResendPushesRequest{Parent: parent, RequestId: "r1"})
	if err != nil {
		t.Fatal(err)
	}
	j := resp.GetJob()
	if got, want := counts(j), "PUSH_JOB_STATE_RUNNING matched 6 sent 3 skipped 1"; got != want || j.GetCaller() != "tenants/acme/keys/k1" {
		t.Errorf("got %v, want %s", j, want)
	}
	again := &deliveryv1.ResendPushesRequest{Parent: parent}
	if _, err := b.ResendPushes(t.Context(), again); reasonOf(err) != rpc.ReasonExhausted {
		t.Errorf("a second job at once gave %v", err)
	}
	ended, err := b.CancelPushJob(ctx, &deliveryv1.CancelPushJobRequest{Name: j.GetName()})
	if err != nil || ended.GetJob().GetState() != deliveryv1.PushJobState_PUSH_JOB_STATE_CANCELLED || ended.GetJob().GetSentCount() != 3 {
		t.Errorf("cancelled: %v, %v", ended, err)
	}
	one := &deliveryv1.ResendPushesRequest{Parent: parent, Filter: &deliveryv1.ParkedFilter{PushId: "psh_a4_4"}}
	if _, err := b.ResendPushes(t.Context(), one); err != nil {
		t.Error(err)
	}
	if _, err := b.ResendPushes(t.Context(), one); reasonOf(err) != rpc.ReasonExhausted {
		t.Errorf("a third job in a minute gave %v", err)
	}
	req := &deliveryv1.ListPushJobsRequest{Parent: parent, PageSize: 1}
	for _, want := range []string{"PUSH_JOB_STATE_DONE matched 1 sent 1 skipped 0", "PUSH_JOB_STATE_CANCELLED matched 6 sent 3 skipped 1"} {
		resp, err := b.ListPushJobs(t.Context(), req)
		if err != nil || len(resp.GetJobs()) != 1 || counts(resp.GetJobs()[0]) != want {
			t.Fatalf("got %v, %v, want %s", resp, err, want)
		}
		req.PageToken = resp.GetNextPageToken()
	}
	var audited int
	const query = `SELECT count(*) FROM audit_event WHERE tenant_id = 'acme' AND actor = 'tenants/acme/keys/k1' AND resource = $1 AND action IN ('ResendPushes', 'CancelPushJob')`
	if err := b.pool.QueryRow(t.Context(), query, j.GetName()).Scan(&audited); err != nil || audited != 2 {
		t.Errorf("the audit log has %d entries, %v", audited, err)
	}
	if _, err := b.GetPushJob(t.Context(), &deliveryv1.GetPushJobRequest{Name: rpc.PushJobName("other", j.GetName()[len("tenants/acme/pushJobs/"):])}); reasonOf(err) != rpc.ReasonNotFound {
		t.Errorf("another tenant's job gave %v", err)
	}
}

// A job that an instance left is gone on with by another.
func TestJobs_AreTakenUpByOthers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.some()
	b.exec(`INSERT INTO push_job (id, tenant_id, kind, create_time, work_time, matched) VALUES ('job_1', 'acme', 1, now(), now() - interval '1 h', 6)`)
	if got, want := counts(b.done(&deliveryv1.PushJob{Name: rpc.PushJobName("acme", "job_1")})), "PUSH_JOB_STATE_DONE matched 6 sent 5 skipped 0"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestStatistics_AddUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.some()
	b.endpoint("ep_d", "acme", enabled)
	b.exec(`INSERT INTO waybill VALUES ('sf', 'SF0100', 9, 1, 0, false, 9, now(), now(), '')`)
	// Handed over 7 of 9, acknowledged 3, of the rest 2 in a row.
	b.subscription("sub_d1", "ep_d", "SF0100", pg.SubscriptionActive, 7, 3)
	b.parked("sub_d1", 3, 5, -1, "")
	// All acknowledged, and asked for once more.
	b.subscription("sub_d2", "ep_d", "SF0101", pg.SubscriptionCompleted, 4, 4)
	b.parked("sub_d2", 0, 4, -1, "")
	b.subscription("sub_d3", "ep_d", "SF0102", pg.SubscriptionCancelled, 4, 1)
	b.subscription("sub_d4", "ep_d", "SF0103", pg.SubscriptionExpired, 4, 1)
	b.parked("sub_d4", 2, 4, 1, "retries_spent")
	got := func(name string) *deliveryv1.PushStatistics {
		resp, err := b.GetPushStatistics(t.Context(), &deliveryv1.GetPushStatisticsRequest{Parent: name})
		if err != nil {
			t.Fatal(err)
		}
		s := resp.GetStatistics()
		sum := s.GetWaitingCount() + s.GetInFlightCount() + s.GetPendingCount() + s.GetAcknowledgedCount() + s.GetParkedCount() + s.GetCancelledCount()
		if sum != s.GetAcceptedCount() {
			t.Errorf("%s: %d accepted and %d in all: %v", name, s.GetAcceptedCount(), sum, s)
		}
		return s
	}
	want := &deliveryv1.PushStatistics{
		SubscriptionCount: 4, AcceptedCount: 21, WaitingCount: 2, InFlightCount: 3, PendingCount: 2, AcknowledgedCount: 9, ParkedCount: 2, CancelledCount: 3,
		PendingPushCount: 2, ParkedPushCount: 1, OldestPendingTime: minute(0),
	}
	if d := cmp.Diff(want, got(parent+"/endpoints/ep_d"), protocmp.Transform()); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
	want = &deliveryv1.PushStatistics{SubscriptionCount: 1, AcceptedCount: 4, AcknowledgedCount: 1, ParkedCount: 3, ParkedPushCount: 1}
	if d := cmp.Diff(want, got(parent+"/subscriptions/sub_a1"), protocmp.Transform()); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
	if s := got(parent); s.GetSubscriptionCount() != 12 || s.GetParkedPushCount() != 7 {
		t.Errorf("got %v", s)
	}
	for _, name := range []string{parent + "/endpoints/ep_o", parent + "/subscriptions/sub_x"} {
		if _, err := b.GetPushStatistics(t.Context(), &deliveryv1.GetPushStatisticsRequest{Parent: name}); reasonOf(err) != rpc.ReasonNotFound {
			t.Errorf("%s gave %v", name, err)
		}
	}
}
