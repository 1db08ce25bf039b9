package pg

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/posthaste/posthaste/services/internal/pace"
)

// paceColumns is a rule as a text of the type paced: tier, digest_interval and
// filter in one, so that several rows' can be one array.
func paceColumns(r pace.Rule) string {
	var b strings.Builder
	b.WriteString("(" + strconv.Itoa(int(r.Tier)) + ",")
	if r.Tier == pace.Digest {
		b.WriteString(strconv.FormatInt(int64(r.Interval/time.Microsecond), 10) + " microseconds")
	}
	b.WriteString(",")
	if len(r.Filter) > 0 {
		b.WriteString("\"{")
		for i, c := range r.Filter {
			if i > 0 {
				b.WriteString(",")
			}
			b.WriteString(strconv.Itoa(int(c)))
		}
		b.WriteString("}\"")
	}
	return b.String() + ")"
}

// announceHeld has what is held back of an endpoint's subscriptions looked at anew:
// its pace was changed.
func announceHeld(ctx context.Context, tx pgx.Tx, endpoint string) error {
	// Relies on subscription_of_endpoint.
	const query = `UPDATE subscription SET announce = true WHERE endpoint_id = $1 AND state = 1 AND tier = 0 AND held_revision > pushed_revision`
	if _, err := tx.Exec(ctx, query, endpoint); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `SELECT pg_notify($1, '')`, announceChannel)
	return err
}
