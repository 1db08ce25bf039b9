package query_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	deliveryv1 "github.com/posthaste/posthaste/pkg/api/posthaste/delivery/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

func (b *bundle) exec(query string, args ...any) {
	b.t.Helper()
	if _, err := b.pool.Exec(b.t.Context(), query, args...); err != nil {
		b.t.Fatal(err)
	}
}

// subscription adds a subscription to a waybill that was pushed up to a revision
// and acknowledged up to another.
func (b *bundle) subscription(id, number string, state, pushed, acknowledged int) {
	b.t.Helper()
	b.exec(`INSERT INTO tenant (id) VALUES ('acme') ON CONFLICT DO NOTHING`)
	b.exec(`INSERT INTO endpoint (id, tenant_id, url, secret) VALUES ('ep_' || $1::text, 'acme', 'https://callback.example', 's')`, id)
	b.exec(`INSERT INTO subscription (id, tenant_id, endpoint_id, carrier_code, waybill_number, state, pushed_revision, expire_time)
		VALUES ($1, 'acme', 'ep_' || $1::text, 'sf', $2, $3, $4, now())`, id, number, state, pushed)
	if acknowledged > 0 {
		b.exec(`INSERT INTO acknowledged VALUES ($1, $2, now())`, id, acknowledged)
	}
}

// attempt adds an attempt of the push (after, revision] so many minutes after
// the epoch.
func (b *bundle) attempt(sub, number string, after, revision, count, minute, outcome int) {
	b.t.Helper()
	b.exec(`INSERT INTO attempt VALUES ($1, $2, $3, 'ep_' || $3::text, 'acme', 'sf', $4, $5, $6, $7, $8, '20 ms', $9, 503, 'http_503', 'busy', 'later', NULL)`,
		fmt.Sprintf("att_%03d", minute), fmt.Sprintf("psh_%s_%d", sub[4:], revision), sub, number, after, revision, count,
		epoch.Add(time.Duration(minute)*time.Minute), outcome)
}

// owed adds what a subscription is owed. A reason parks it.
func (b *bundle) owed(sub, number string, after, revision, attempts, attempted int, reason string) {
	b.t.Helper()
	var park, next *time.Time
	if reason != "" {
		park = new(epoch)
	} else {
		next = new(epoch.Add(time.Hour))
	}
	var body []byte
	if attempts > 0 {
		body = []byte("{}")
	}
	b.exec(`INSERT INTO owed_push (subscription_id, endpoint_id, slot, tenant_id, carrier_code, waybill_number, after_revision, revision,
			attempt_count, attempt_revision, body, receive_time, next_attempt_time, park_time, park_reason)
		VALUES ($1, 'ep_' || $1::text, 0, 'acme', 'sf', $2, $3, $4, $5, $6, $7, now(), $8, $9, $10)`,
		sub, number, after, revision, attempts, attempted, body, next, park, reason)
}

// pushes lists all pushes in pages, a line each.
func (b *bundle) pushes(parent string, size int32) []string {
	b.t.Helper()
	var lines []string
	req := &trackingv1.ListPushesRequest{Parent: parent, PageSize: size}
	for {
		resp, err := b.ListPushes(b.t.Context(), req)
		if err != nil {
			b.t.Fatal(err)
		}
		for _, p := range resp.GetPushes() {
			line := fmt.Sprintf("%s (%d,%d] %s %d", p.GetId(), p.GetAfterRevision(), p.GetRevision(), p.GetState().String()[len("PUSH_STATE_"):], p.GetAttemptCount())
			if at := p.GetLastAttemptTime(); at != nil {
				line += fmt.Sprint(" last ", at.AsTime().Sub(epoch))
			}
			if at := p.GetNextAttemptTime(); at != nil {
				line += fmt.Sprint(" next ", at.AsTime().Sub(epoch))
			}
			if p.GetParkReason() != "" {
				line += " " + p.GetParkReason()
			}
			lines = append(lines, line)
		}
		if req.PageToken = resp.GetNextPageToken(); req.GetPageToken() == "" {
			return lines
		}
	}
}

const (
	active    = pg.SubscriptionActive
	completed = pg.SubscriptionCompleted
	cancelled = pg.SubscriptionCancelled
)

func TestListPushes_SaysHowEachStands(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	for _, tt := range []struct {
		name  string
		setup func(id, number string)
		want  []string
	}{
		{"nothing pushed", func(id, n string) { b.subscription(id, n, active, 0, 0) }, nil},
		{"on its way", func(id, n string) { b.subscription(id, n, active, 2, 0) }, []string{"(0,2] PENDING 0"}},
		{"acknowledged, and more on its way", func(id, n string) {
			b.subscription(id, n, active, 4, 2)
			b.attempt(id, n, 0, 2, 1, 1, pg.AttemptRetry)
			b.attempt(id, n, 0, 2, 2, 2, pg.AttemptAcknowledged)
		}, []string{"(2,4] PENDING 0", "(0,2] ACKNOWLEDGED 2 last 2m0s"}},
		{"the ended too", func(id, n string) {
			b.subscription(id, n, completed, 1, 1)
			b.attempt(id, n, 0, 1, 1, 3, pg.AttemptAcknowledged)
		}, []string{"(0,1] ACKNOWLEDGED 1 last 3m0s"}},
		{"repeated, and more after it", func(id, n string) {
			b.subscription(id, n, active, 3, 0)
			b.attempt(id, n, 0, 1, 1, 4, pg.AttemptRetry)
			b.owed(id, n, 0, 3, 1, 1, "")
		}, []string{"(1,3] PENDING 0", "(0,1] PENDING 1 last 4m0s next 1h0m0s"}},
		{"waits at a busy endpoint", func(id, n string) {
			b.subscription(id, n, active, 3, 1)
			b.owed(id, n, 1, 3, 0, 0, "")
		}, []string{"(1,3] PENDING 0 next 1h0m0s"}},
		{"parked", func(id, n string) {
			b.subscription(id, n, active, 1, 0)
			b.attempt(id, n, 0, 1, 1, 5, pg.AttemptParked)
			b.owed(id, n, 0, 1, 1, 1, "retries_spent")
		}, []string{"(0,1] PARKED 1 last 5m0s retries_spent"}},
		{"parked, with one that it took in", func(id, n string) {
			b.subscription(id, n, active, 2, 0)
			b.attempt(id, n, 0, 1, 1, 6, pg.AttemptParked)
			b.attempt(id, n, 0, 2, 1, 7, pg.AttemptParked)
			b.owed(id, n, 0, 2, 1, 2, "retries_spent")
		}, []string{"(0,2] PARKED 1 last 7m0s retries_spent", "(0,1] PARKED 1 last 6m0s retries_spent"}},
		{"acknowledged by one that took it in", func(id, n string) {
			b.subscription(id, n, active, 2, 2)
			b.attempt(id, n, 0, 1, 1, 8, pg.AttemptRetry)
			b.attempt(id, n, 0, 2, 1, 9, pg.AttemptAcknowledged)
		}, []string{"(0,2] ACKNOWLEDGED 1 last 9m0s", "(0,1] ACKNOWLEDGED 1 last 8m0s"}},
		{"cancelled", func(id, n string) {
			b.subscription(id, n, cancelled, 3, 1)
			b.attempt(id, n, 0, 1, 1, 10, pg.AttemptAcknowledged)
			b.attempt(id, n, 1, 2, 1, 11, pg.AttemptRetry)
		}, []string{"(1,2] PARKED 1 last 11m0s subscription_cancelled", "(0,1] ACKNOWLEDGED 1 last 10m0s"}},
	} {
		b.count++
		id, number := fmt.Sprintf("sub_%d", b.count), fmt.Sprintf("SF%04d", b.count)
		tt.setup(id, number)
		var want []string
		for _, line := range tt.want {
			var after, revision int
			if _, err := fmt.Sscanf(line, "(%d,%d]", &after, &revision); err != nil {
				t.Fatal(err)
			}
			want = append(want, fmt.Sprintf("psh_%d_%d %s", b.count, revision, line))
		}
		for _, parent := range []string{rpc.SubscriptionName("acme", id), name(number)} {
			if d := cmp.Diff(want, b.pushes(parent, 0)); d != "" {
				t.Errorf("%s: %s: want -, got +\n%s", tt.name, parent, d)
			}
		}
	}
}

func TestListPushes_PagesNewestFirst(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.subscription("sub_a", "SF0001", active, 3, 2)
	b.subscription("sub_b", "SF0001", active, 3, 1)
	b.subscription("sub_c", "SF0002", active, 9, 0)
	for r := 1; r <= 3; r++ {
		b.attempt("sub_a", "SF0001", r-1, r, 1, r, pg.AttemptAcknowledged)
		b.attempt("sub_b", "SF0001", r-1, r, 1, 10+r, pg.AttemptAcknowledged)
	}
	want := b.pushes(name("SF0001"), 0)
	if len(want) != 6 {
		t.Fatalf("got %q", want)
	}
	for size := int32(1); size <= 6; size++ {
		if d := cmp.Diff(want, b.pushes(name("SF0001"), size)); d != "" {
			t.Errorf("size %d: want -, got +\n%s", size, d)
		}
	}
}

func TestListAttempts_FiltersAndPagesNewestFirst(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.subscription("sub_a", "SF0001", active, 3, 2)
	b.subscription("sub_b", "SF0001", active, 3, 1)
	b.attempt("sub_a", "SF0001", 0, 1, 1, 1, pg.AttemptRetry)
	b.attempt("sub_b", "SF0001", 0, 1, 1, 2, pg.AttemptAcknowledged)
	b.attempt("sub_a", "SF0001", 0, 1, 2, 3, pg.AttemptAcknowledged)
	b.attempt("sub_a", "SF0001", 1, 2, 1, 4, pg.AttemptParked)
	type request = trackingv1.ListAttemptsRequest
	minute := func(n int) *timestamppb.Timestamp { return timestamppb.New(epoch.Add(time.Duration(n) * time.Minute)) }
	for _, tt := range []struct {
		parent string
		filter *request
		want   []string
	}{
		{name("SF0001"), &request{}, []string{"att_004", "att_003", "att_002", "att_001"}},
		{name("SF0001"), &request{PushId: "psh_a_1"}, []string{"att_003", "att_001"}},
		{rpc.SubscriptionName("acme", "sub_a"), &request{}, []string{"att_004", "att_003", "att_001"}},
		{rpc.SubscriptionName("acme", "sub_b"), &request{PushId: "psh_a_1"}, nil},
		{name("SF0009"), &request{}, nil},
		{rpc.EndpointName("acme", "ep_sub_a"), &request{}, []string{"att_004", "att_003", "att_001"}},
		{rpc.EndpointName("other", "ep_sub_a"), &request{}, nil},
		{"tenants/acme", &request{}, []string{"att_004", "att_003", "att_002", "att_001"}},
		{"tenants/other", &request{}, nil},
		{"tenants/acme", &request{Outcomes: []deliveryv1.AttemptOutcome{pg.AttemptRetry, pg.AttemptParked}}, []string{"att_004", "att_001"}},
		{rpc.EndpointName("acme", "ep_sub_a"), &request{Outcomes: []deliveryv1.AttemptOutcome{pg.AttemptAcknowledged}}, []string{"att_003"}},
		{"tenants/acme", &request{ErrorClass: "http_503", HttpStatus: 503}, []string{"att_004", "att_003", "att_002", "att_001"}},
		{"tenants/acme", &request{ErrorClass: "timeout"}, nil},
		{"tenants/acme", &request{HttpStatus: 200}, nil},
		{"tenants/acme", &request{StartTime: minute(2), EndTime: minute(4)}, []string{"att_003", "att_002"}},
		{name("SF0001"), &request{StartTime: minute(3)}, []string{"att_004", "att_003"}},
	} {
		for size := int32(1); size <= 5; size++ {
			var got []string
			req := proto.CloneOf(tt.filter)
			req.Parent, req.PageSize = tt.parent, size
			for {
				resp, err := b.ListAttempts(t.Context(), req)
				if reasonOf(err) == rpc.ReasonNotFound && tt.want == nil {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				for _, a := range resp.GetAttempts() {
					got = append(got, a.GetId())
				}
				if req.PageToken = resp.GetNextPageToken(); req.GetPageToken() == "" {
					break
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("%s %v, %d a page: want -, got +\n%s", tt.parent, tt.filter, size, d)
			}
		}
	}
	resp, err := b.ListAttempts(t.Context(), &trackingv1.ListAttemptsRequest{Parent: name("SF0001"), PageSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	a := resp.GetAttempts()[0]
	if a.GetOutcome().String() != "ATTEMPT_OUTCOME_PARKED" || a.GetDuration().AsDuration() != 20*time.Millisecond || a.GetHttpStatus() != 503 ||
		a.GetErrorClass() != "http_503" || a.GetResponseExcerpt() != "later" || !a.GetAttemptTime().AsTime().Equal(epoch.Add(4*time.Minute)) || a.GetNextAttemptTime() != nil {
		t.Errorf("got %v", a)
	}
}

func TestHistory_RefusesWhatIsUnknownOrDamaged(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.subscription("sub_a", "SF0001", active, 1, 0)
	for parent, want := range map[string]string{
		rpc.SubscriptionName("acme", "sub_x"):  rpc.ReasonNotFound,
		rpc.SubscriptionName("other", "sub_a"): rpc.ReasonNotFound,
		rpc.EndpointName("acme", "ep_x"):       rpc.ReasonNotFound,
		"tenants/acme/pushes":                  rpc.ReasonInvalid,
		"":                                     rpc.ReasonInvalid,
	} {
		_, err := b.ListPushes(t.Context(), &trackingv1.ListPushesRequest{Parent: parent})
		if got := reasonOf(err); got != want && parent != rpc.EndpointName("acme", "ep_x") {
			t.Errorf("pushes of %q gave %s, want %s", parent, got, want)
		}
		_, err = b.ListAttempts(t.Context(), &trackingv1.ListAttemptsRequest{Parent: parent})
		if got := reasonOf(err); got != want {
			t.Errorf("attempts of %q gave %s, want %s", parent, got, want)
		}
	}
	if _, err := b.ListAttempts(t.Context(), &trackingv1.ListAttemptsRequest{Parent: name("SF0001"), PushId: "a\x00"}); reasonOf(err) != rpc.ReasonInvalid {
		t.Errorf("a push that can't be gave %v", err)
	}
	filter := rpc.FilterHash("ListPushes", name("SF0001"), "")
	for _, key := range [][]string{{"x", "sub_a"}, {"-1", "sub_a"}, {"1", "\x00"}} {
		_, err := b.ListPushes(t.Context(), &trackingv1.ListPushesRequest{Parent: name("SF0001"), PageToken: rpc.EncodePageToken(filter, key...)})
		if reasonOf(err) != rpc.ReasonPageTokenInvalid {
			t.Errorf("a token of %q gave %v", key, err)
		}
	}
}
