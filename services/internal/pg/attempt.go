package pg

import (
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/posthaste/posthaste/services/internal/track"
)

// The outcomes of an attempt.
const (
	AttemptAcknowledged = 1
	AttemptRetry        = 2
	AttemptParked       = 3
)

// Attempt is one HTTP try of one push.
type Attempt struct {
	ID             string
	PushID         string
	SubscriptionID string
	EndpointID     string
	TenantID       string
	Waybill        track.Waybill
	After          track.Revision
	Revision       track.Revision
	Number         int
	Time           time.Time
	Took           time.Duration
	Outcome        int
	HTTPStatus     int
	Class          string
	Error          string
	Excerpt        string
	Next           time.Time // zero when none follows
	Phases         Phases
}

// Phases are the parts of an attempt; what didn't happen is 0.
type Phases struct {
	DNS, Connect, TLS, FirstByte time.Duration
	Reused                       bool // the connection
}

// microseconds are how the table keeps a phase.
func microseconds(d time.Duration) int32 { return int32(min(d.Microseconds(), math.MaxInt32)) }

const attemptColumns = `id, push_id, subscription_id, endpoint_id, tenant_id, carrier_code, waybill_number, after_revision, revision,
	number, attempt_time, duration, outcome, http_status, error_class, error, response_excerpt, next_attempt_time,
	dns_us, connect_us, tls_us, first_byte_us, reused`

// insertAttempts adds to the log. With again, the same may have been added
// before, and what was is left out: a commit whose answer got lost.
func insertAttempts(b *pgx.Batch, list []Attempt, again bool) {
	n := len(list)
	if n == 0 {
		return
	}
	text := func(get func(a *Attempt) string) []string {
		column := make([]string, n)
		for i := range list {
			column[i] = get(&list[i])
		}
		return column
	}
	after, revision, number := make([]int64, n), make([]int64, n), make([]int32, n)
	at, took, next := make([]time.Time, n), make([]time.Duration, n), make([]*time.Time, n)
	outcome, code := make([]int16, n), make([]int32, n)
	dns, connect, tls, firstByte, reused := make([]int32, n), make([]int32, n), make([]int32, n), make([]int32, n), make([]bool, n)
	for i := range list {
		a := &list[i]
		after[i], revision[i], number[i] = int64(a.After), int64(a.Revision), int32(a.Number)
		at[i], took[i], outcome[i], code[i] = a.Time, a.Took, int16(a.Outcome), int32(a.HTTPStatus)
		if !a.Next.IsZero() {
			next[i] = &a.Next
		}
		p := &a.Phases
		dns[i], connect[i], tls[i], firstByte[i], reused[i] = microseconds(p.DNS), microseconds(p.Connect), microseconds(p.TLS), microseconds(p.FirstByte), p.Reused
	}
	query := `
		INSERT INTO attempt (` + attemptColumns + `)
		SELECT n.* FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[],
			$10::integer[], $11::timestamptz[], $12::interval[], $13::smallint[], $14::integer[], $15::text[], $16::text[], $17::text[], $18::timestamptz[],
			$19::integer[], $20::integer[], $21::integer[], $22::integer[], $23::boolean[])
			AS n (` + attemptColumns + `)`
	if again {
		// Relies on attempt_of_subscription.
		query += ` WHERE NOT EXISTS (
			SELECT 1 FROM attempt a WHERE a.subscription_id = n.subscription_id AND a.attempt_time = n.attempt_time AND a.id = n.id)`
	}
	b.Queue(query,
		text(func(a *Attempt) string { return a.ID }), text(func(a *Attempt) string { return a.PushID }),
		text(func(a *Attempt) string { return a.SubscriptionID }), text(func(a *Attempt) string { return a.EndpointID }),
		text(func(a *Attempt) string { return a.TenantID }), text(func(a *Attempt) string { return string(a.Waybill.Carrier) }),
		text(func(a *Attempt) string { return string(a.Waybill.Number) }), after, revision, number, at, took, outcome, code,
		text(func(a *Attempt) string { return a.Class }), text(func(a *Attempt) string { return a.Error }),
		text(func(a *Attempt) string { return a.Excerpt }), next, dns, connect, tls, firstByte, reused)
}
