package feed_test

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/posthaste/posthaste/pkg/feed"
)

// Follow two carriers until Ctrl-C, and take up where it stopped when started
// again.
func ExampleFollow() {
	nc, err := nats.Connect("nats://127.0.0.1:4222", nats.MaxReconnects(-1))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	have := make(map[string]uint64) // in a real follower, beside what it stores
	err = feed.Follow(ctx, js, feed.Options{Durable: "notices", Carriers: []string{"sf", "zto"}},
		func(_ context.Context, u feed.Update) error {
			id := u.Waybill.ID.String()
			for _, e := range u.Since(have[id]) {
				fmt.Println(id, e.Revision, e.Status, e.Text)
			}
			have[id] = max(have[id], u.Waybill.Revision)
			return nil
		})
	if err != nil {
		fmt.Println(err)
	}
}
