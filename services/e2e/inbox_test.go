package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/posthaste/posthaste/pkg/payload"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/pkg/webhook/inbox"
	"github.com/posthaste/posthaste/pkg/webhook/inbox/pginbox"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

// inboxPush is the push (after, revision] with an event of each revision.
func inboxPush(sub string, after, revision uint64) payload.Push {
	p := payload.Push{Type: payload.TypeTraceUpdated, PushID: fmt.Sprintf("psh_%s_%d", sub, revision), SubscriptionID: sub, AfterRevision: after, Revision: revision}
	for r := after + 1; r <= revision; r++ {
		p.Events = append(p.Events, payload.Event{ID: fmt.Sprint("e", r), Revision: r})
	}
	return p
}

// However pushes repeat, overlap and run at the same time, and however often an
// effect fails half-way or its commit is broken off, each event is written once.
func TestInbox_EachEventHasItsEffectOnce(t *testing.T) {
	t.Parallel()
	db := testkit.PostgreSQL(t)
	in := pginbox.New(db, nil)
	for range 2 { // the tables may be there
		if err := in.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// Without a key that would hide a second effect.
	if _, err := db.Exec(t.Context(), `CREATE TABLE effect (sub text, revision bigint, n bigserial)`); err != nil {
		t.Fatal(err)
	}
	const subs, revisions, senders = 3, 12, 4
	fault := errors.New("the effect failed half-way")
	take := func(ctx context.Context, p payload.Push, fails bool) error {
		_, err := in.Take(ctx, p, func(ctx context.Context, tx pgx.Tx, p payload.Push, news []payload.Event) error {
			for _, e := range news {
				if _, err := tx.Exec(ctx, `INSERT INTO effect (sub, revision) VALUES ($1, $2)`, p.SubscriptionID, e.Revision); err != nil {
					return err
				}
			}
			if fails {
				return fault
			}
			return nil
		})
		return err
	}
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for r := uint64(1); r <= revisions; r++ {
				for s := range subs {
					p := inboxPush(strconv.Itoa(s), rand.Uint64N(r), r)
					if rand.IntN(2) == 0 {
						if err := take(t.Context(), p, true); err != nil && !errors.Is(err, fault) {
							t.Error(err)
						}
						gone, cancel := context.WithCancel(t.Context())
						cancel()
						_ = take(gone, p, false)
					}
					if err := take(t.Context(), p, false); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	rows, err := db.Query(t.Context(), `SELECT sub, revision FROM effect ORDER BY sub, n`)
	if err != nil {
		t.Fatal(err)
	}
	type effect struct {
		Sub      string
		Revision uint64
	}
	got, err := pgx.CollectRows(rows, pgx.RowToStructByPos[effect])
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != subs*revisions {
		t.Errorf("%d effects, want %d", len(got), subs*revisions)
	}
	for i, e := range got {
		if want := uint64(i%revisions) + 1; e.Revision != want {
			t.Fatalf("effect %d is of revision %d, want %d: %v", i, e.Revision, want, got)
		}
	}
}

func TestInbox_AsksForWhatItLacks(t *testing.T) {
	t.Parallel()
	db := testkit.PostgreSQL(t)
	var asked []string
	var answer error
	in := pginbox.New(db, func(_ context.Context, sub string, after uint64) error {
		asked = append(asked, fmt.Sprint(sub, " ", after))
		return answer
	})
	if err := in.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothing := func(context.Context, pgx.Tx, payload.Push, []payload.Event) error { return nil }
	if link, err := in.Take(t.Context(), inboxPush("a", 0, 2), nothing); err != nil || link != webhook.Continues {
		t.Fatal(link, err)
	}
	if link, err := in.Take(t.Context(), inboxPush("a", 4, 5), nothing); err != nil || link != webhook.Gap {
		t.Fatal(link, err)
	}
	// Not promised, not acknowledged.
	if answer = errors.New("away"); true {
		if _, err := in.Take(t.Context(), inboxPush("a", 4, 5), nothing); !errors.Is(err, answer) {
			t.Error(err)
		}
	}
	if fmt.Sprint(asked) != "[a 2 a 2]" {
		t.Error("asked", asked)
	}
	if _, err := pginbox.New(db, nil).Take(t.Context(), inboxPush("a", 4, 5), nothing); !errors.Is(err, inbox.ErrGap) {
		t.Error(err)
	}
	if link, err := in.Take(t.Context(), inboxPush("a", 2, 5), nothing); err != nil || link != webhook.Continues {
		t.Error(link, err)
	}
}

func TestInbox_OnceByID(t *testing.T) {
	t.Parallel()
	db := testkit.PostgreSQL(t)
	in := pginbox.New(db, nil)
	if err := in.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(t.Context(), `CREATE TABLE effect (id text)`); err != nil {
		t.Fatal(err)
	}
	fault := errors.New("no")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, err := in.Once(t.Context(), "psh_1", func(ctx context.Context, tx pgx.Tx) error {
				if _, err := tx.Exec(ctx, `INSERT INTO effect VALUES ('psh_1')`); err != nil {
					return err
				}
				if i%2 == 0 {
					return fault
				}
				return nil
			})
			if err != nil && !errors.Is(err, fault) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var n int
	if err := db.QueryRow(t.Context(), `SELECT count(*) FROM effect`).Scan(&n); err != nil || n != 1 {
		t.Errorf("%d effects, %v", n, err)
	}
	if err := in.Prune(t.Context(), time.Now().Add(time.Hour), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if ran, err := in.Once(t.Context(), "psh_1", func(context.Context, pgx.Tx) error { return nil }); err != nil || !ran {
		t.Errorf("after pruning it ran: %v, %v", ran, err)
	}
}
