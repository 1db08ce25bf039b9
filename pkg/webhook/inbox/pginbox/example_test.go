package pginbox_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/pkg/payload"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/pkg/webhook/inbox/pginbox"
)

// A whole receiver: it checks the signature, writes each event once to its own
// table in the transaction that moves the chain, and asks for what it lacks.
func Example() {
	ctx := context.Background()
	db, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer db.Close()
	posthaste, err := client.Dial("127.0.0.1:9090")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = posthaste.Close() }()
	secret, err := webhook.ParseSecret(os.Getenv("WEBHOOK_SECRET"))
	if err != nil {
		fmt.Println(err)
		return
	}
	in := pginbox.New(db, posthaste.Replay)
	if err := in.Migrate(ctx); err != nil {
		fmt.Println(err)
		return
	}
	handler := webhook.Handler(&webhook.Verifier{Secrets: []webhook.Secret{secret}}, func(ctx context.Context, p payload.Push) error {
		_, err := in.Take(ctx, p, func(ctx context.Context, tx pgx.Tx, p payload.Push, news []payload.Event) error {
			for _, e := range news {
				_, err := tx.Exec(ctx, `INSERT INTO parcel_event (order_id, event_id, status, text) VALUES ($1, $2, $3, $4)`, p.Metadata["order_id"], e.ID, e.Status, e.Text)
				if err != nil {
					return err
				}
			}
			return nil
		})
		return err
	})
	server := http.Server{Addr: "127.0.0.1:8099", Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second}
	fmt.Println(server.ListenAndServe())
}
