package query_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/testkit"
	"github.com/posthaste/posthaste/services/internal/wire"
	"github.com/posthaste/posthaste/services/query"
)

func TestProject_TakesRepeatsAndDisorder(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	for _, revision := range []int{2, 1, 2, 5, 3, 5, 4} {
		testkit.Project(t, b.pool, updateAt("SF0001", revision), updateAt("SF0002", 1))
	}
	if d := cmp.Diff(updateAt("SF0001", 5), b.projected("SF0001"), protocmp.Transform()); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
	if d := cmp.Diff(updateAt("SF0002", 1), b.projected("SF0002"), protocmp.Transform()); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
}

func TestProjector_ProjectsEveryChange(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.publish(updateAt("SF0001", 1), updateAt("SF0002", 2))
	b.project()
	b.publish(updateAt("SF0001", 2), updateAt("SF0001", 3))
	b.await("everything was acknowledged", func() bool { return b.unread() == 0 })
	for number, revision := range map[string]int{"SF0001": 3, "SF0002": 2} {
		if d := cmp.Diff(updateAt(number, revision), b.projected(number), protocmp.Transform()); d != "" {
			t.Errorf("%s: want -, got +\n%s", number, d)
		}
	}
}

// flaky is a projection that refuses.
type flaky struct {
	*pg.Query
	refuse func(traces []*wire.Split) error
}

func (f flaky) Project(ctx context.Context, traces []*wire.Split) error {
	if err := f.refuse(traces); err != nil {
		return err
	}
	return f.Query.Project(ctx, traces)
}

func TestProjector_WaitsForPostgreSQL(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	var tries atomic.Int32
	early := make(chan int, 3)
	b.publish(updateAt("SF0001", 1), updateAt("SF0002", 1))
	b.project(func(cfg *query.ProjectorConfig) {
		cfg.Store = flaky{pg.NewQuery(b.pool), func([]*wire.Split) error {
			if tries.Add(1) > 3 {
				return nil
			}
			early <- b.unread()
			return errors.New("connection refused")
		}}
	})
	b.await("everything was acknowledged", func() bool { return tries.Load() > 3 && b.unread() == 0 })
	for range 3 {
		if n := <-early; n != 2 {
			t.Errorf("%d of 2 changes were unacknowledged while PostgreSQL was away", n)
		}
	}
	if b.projected("SF0001") == nil || b.projected("SF0002") == nil {
		t.Error("a change is lost")
	}
}

// One change that can't be projected keeps waiting and holds up no other.
func TestProjector_SetsAsideWhatIsRefused(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	if err := b.trace.Publish(t.Context(), stream.Message{Subject: subject.Trace("sf", "SF0000"), Data: []byte("\xff")}); err != nil {
		t.Fatal(err)
	}
	b.publish(updateAt("SF0001", 1), updateAt("SF0002", 1), updateAt("SF0003", 1))
	b.project(func(cfg *query.ProjectorConfig) {
		cfg.Store = flaky{pg.NewQuery(b.pool), func(traces []*wire.Split) error {
			for _, t := range traces {
				if t.Waybill.GetWaybillNumber() == "SF0002" {
					return &pgconn.PgError{Code: "22021"}
				}
			}
			return nil
		}}
	})
	b.await("the others were projected", func() bool { return b.projected("SF0001") != nil && b.projected("SF0003") != nil && b.unread() == 2 })
	if b.projected("SF0002") != nil {
		t.Error("what was refused is there")
	}
}
