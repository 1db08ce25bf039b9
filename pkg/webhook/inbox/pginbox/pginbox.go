// Package pginbox is an inbox in the receiver's own PostgreSQL, see package
// inbox: how far a subscription has got moves in the transaction of the effect.
// So an effect that is written with the transaction happens once, whatever
// crashes when. What an effect does elsewhere, such as sending a mail, is not
// undone with it: write it to a table, and send from there.
package pginbox

import (
	"context"
	_ "embed" // the tables
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/posthaste/posthaste/pkg/payload"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/pkg/webhook/inbox"
)

// Schema makes the two tables, if they aren't there. Run it with your
// migrations, or call [Inbox.Migrate].
//
//go:embed schema.sql
var Schema string

// DB is a [pgxpool.Pool], or what else begins transactions.
//
// [pgxpool.Pool]: https://pkg.go.dev/github.com/jackc/pgx/v5/pgxpool#Pool
type DB interface {
	Begin(ctx context.Context) (pgx.Tx, error)
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// Inbox keeps chains and ids in PostgreSQL. It is safe for concurrent use, by
// several processes too, as far as its DB is.
type Inbox struct {
	db  DB
	ask inbox.Asker
}

// New makes an inbox. Ask is called on a gap; nil returns [inbox.ErrGap].
func New(db DB, ask inbox.Asker) *Inbox { return &Inbox{db: db, ask: ask} }

// Migrate makes the tables, if they aren't there.
func (b *Inbox) Migrate(ctx context.Context) error {
	if _, err := b.db.Exec(ctx, Schema); err != nil {
		return fmt.Errorf("make the tables of the inbox: %w", err)
	}
	return nil
}

// Take gives a push to an effect, with the events that are news, unless one has
// had them. The effect writes with tx, which Take commits: a return of nil says
// that what it wrote is on disk. On an error nothing has moved; the push isn't
// acknowledged and comes again. Pushes of one subscription wait for each other.
//
// A subscription that the inbox doesn't know is at revision 0: if its first push
// begins later, that is a gap, and what came before is asked for.
func (b *Inbox) Take(ctx context.Context, p payload.Push, effect func(ctx context.Context, tx pgx.Tx, p payload.Push, news []payload.Event) error) (link webhook.Link, err error) {
	var chain webhook.Chain
	err = b.within(ctx, func(tx pgx.Tx) (done bool, err error) {
		if _, err := tx.Exec(ctx, `INSERT INTO posthaste_inbox_chain (subscription_id) VALUES ($1) ON CONFLICT DO NOTHING`, p.SubscriptionID); err != nil {
			return false, err
		}
		if err := tx.QueryRow(ctx, `SELECT revision FROM posthaste_inbox_chain WHERE subscription_id = $1 FOR UPDATE`, p.SubscriptionID).Scan(&chain.Revision); err != nil {
			return false, err
		}
		if link = chain.Link(p); link == webhook.Repeats || link == webhook.Gap {
			return false, nil
		}
		if err := effect(ctx, tx, p, chain.New(p)); err != nil {
			return false, err
		}
		_, err = tx.Exec(ctx, `UPDATE posthaste_inbox_chain SET revision = $2, push_id = $3, update_time = now() WHERE subscription_id = $1`, p.SubscriptionID, p.Revision, p.PushID)
		return true, err
	})
	switch {
	case err != nil:
		return link, fmt.Errorf("take push %s: %w", p.PushID, err)
	case link == webhook.Gap:
		// After the transaction: a connection isn't held while Posthaste is asked.
		return link, inbox.Ask(ctx, b.ask, chain.Revision, &p)
	}
	return link, nil
}

// Once runs an effect unless one with the id was committed, and says whether it
// ran. The effect writes with tx, which Once commits. It is for pushes that have
// no revisions, those of platforms' forms.
func (b *Inbox) Once(ctx context.Context, id string, effect func(ctx context.Context, tx pgx.Tx) error) (ran bool, err error) {
	if id == "" {
		return false, errors.New("a push without an id can't be told from its repeat: give the handler a verifier")
	}
	err = b.within(ctx, func(tx pgx.Tx) (done bool, err error) {
		// One that another transaction is inserting is waited for.
		tag, err := tx.Exec(ctx, `INSERT INTO posthaste_inbox_push (push_id) VALUES ($1) ON CONFLICT DO NOTHING`, id)
		if err != nil || tag.RowsAffected() == 0 {
			return false, err
		}
		ran = true
		return true, effect(ctx, tx)
	})
	if err != nil {
		return ran, fmt.Errorf("take push %s: %w", id, err)
	}
	return ran, nil
}

// within runs work in a transaction and commits it when work says that it is
// done.
func (b *Inbox) within(ctx context.Context, work func(tx pgx.Tx) (done bool, err error)) error {
	tx, err := b.db.Begin(ctx)
	if err != nil {
		return err
	}
	// Without effect after a commit; and the caller may have hung up.
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	done, err := work(tx)
	if err != nil || !done {
		return err
	}
	return tx.Commit(ctx)
}

// Prune forgets ids that were taken before a time, and chains that were quiet
// since. Keep both for longer than a push is repeated, 72 hours unless the
// endpoint's policy says otherwise, and chains for as long as subscriptions live.
func (b *Inbox) Prune(ctx context.Context, ids, chains time.Time) error {
	if _, err := b.db.Exec(ctx, `DELETE FROM posthaste_inbox_push WHERE take_time < $1`, ids); err != nil {
		return fmt.Errorf("prune the ids of the inbox: %w", err)
	}
	if _, err := b.db.Exec(ctx, `DELETE FROM posthaste_inbox_chain WHERE update_time < $1`, chains); err != nil {
		return fmt.Errorf("prune the chains of the inbox: %w", err)
	}
	return nil
}
