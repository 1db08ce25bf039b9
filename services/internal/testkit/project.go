package testkit

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/proto"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/wire"
)

// Project writes traces to the projection, as if they had come through the
// stream.
func Project(t testing.TB, pool *pgxpool.Pool, updates ...*trackingv1.TraceUpdate) {
	t.Helper()
	traces := make([]*wire.Split, len(updates))
	for i, u := range updates {
		data, err := proto.Marshal(u)
		if err != nil {
			t.Fatalf("encode a trace: %v", err)
		}
		if traces[i], err = wire.SplitUpdate(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := pg.Project(t.Context(), pool, traces); err != nil {
		t.Fatal(err)
	}
}
