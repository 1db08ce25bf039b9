package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTable_IsInStartOrder(t *testing.T) {
	t.Parallel()
	var before []string
	for _, p := range table() {
		if slices.Contains(before, p.name) {
			t.Errorf("part %s occurs twice", p.name)
		}
		for _, n := range p.needs {
			if !slices.Contains(before, n) {
				t.Errorf("part %s needs %s, which isn't before it", p.name, n)
			}
		}
		before = append(before, p.name)
	}
}

func TestPrograms_AreComplete(t *testing.T) {
	t.Parallel()
	var all []string
	for program, names := range programs {
		parts, err := choose(table(), names)
		if err != nil {
			t.Errorf("%s: %v", program, err)
		}
		got := make([]string, len(parts))
		for i, p := range parts {
			got[i] = p.name
		}
		if got[len(got)-1] != "ready" || got[0] != "telemetry" {
			t.Errorf("%s: %v", program, got)
		}
		if program == AllInOne {
			all = got
		} else if slices.Contains(got, "embedded-nats") || slices.Contains(got, "embedded-postgres") {
			t.Errorf("%s brings its own servers: %v", program, got)
		}
	}
	if len(all) != len(table()) {
		t.Errorf("the all-in-one has %d parts of %d", len(all), len(table()))
	}
	if _, err := choose(table(), []string{"nonsense"}); err == nil {
		t.Error("a part that doesn't exist was chosen")
	}
}

// recorder makes parts that write down what happens to them.
type recorder struct{ events []string }

func (r *recorder) part(name string, needs ...string) part {
	return part{name: name, needs: needs, start: func(context.Context, *Env) (func(context.Context) error, error) {
		r.events = append(r.events, "start "+name)
		return func(context.Context) error {
			r.events = append(r.events, "stop "+name)
			return nil
		}, nil
	}}
}

func startParts(parts []part, names ...string) (*App, error) {
	return start(context.Background(), parts, AllInOne, names, Config{Stop: StopConfig{Grace: 20 * time.Second}}, slog.New(slog.DiscardHandler))
}

func TestApp_StartsInOrderAndStopsInReverse(t *testing.T) {
	t.Parallel()
	var r recorder
	a, err := startParts([]part{r.part("one"), r.part("unused"), r.part("two", "one"), r.part("three", "two")}, "three")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // stopping twice is one stop
		if err := a.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
	want := []string{"start one", "start two", "start three", "stop three", "stop two", "stop one"}
	if diff := cmp.Diff(want, r.events); diff != "" {
		t.Error(diff)
	}
}

func TestApp_StopsWhatItStartedWhenAPartCannotStart(t *testing.T) {
	t.Parallel()
	var r recorder
	broken := part{name: "broken", start: func(context.Context, *Env) (func(context.Context) error, error) {
		return func(context.Context) error {
			r.events = append(r.events, "stop broken")
			return nil
		}, errors.New("port is taken")
	}}
	_, err := startParts([]part{r.part("one"), broken, r.part("three")}, "one", "broken", "three")
	if err == nil || err.Error() != "start broken: port is taken" {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff([]string{"start one", "stop broken", "stop one"}, r.events); diff != "" {
		t.Error(diff)
	}
}

func TestApp_NamesThePartThatFails(t *testing.T) {
	t.Parallel()
	for name, result := range map[string]error{"lost its lease": errors.New("lost its lease"), "ended by itself": nil} {
		fail := make(chan struct{})
		work := part{name: "worker", start: func(_ context.Context, env *Env) (func(context.Context) error, error) {
			return env.run("worker", func(context.Context) error {
				<-fail
				return result
			}), nil
		}}
		a, err := startParts([]part{work}, "worker")
		if err != nil {
			t.Fatal(err)
		}
		close(fail)
		if err := <-a.Failed(); err.Error() != "worker: "+name {
			t.Errorf("got %v", err)
		}
		if err := a.Stop(t.Context()); err != nil {
			t.Errorf("the failure is told twice: %v", err)
		}
	}
}

func TestApp_LetsWorkEndAndLeavesBehindWhatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		obedient := part{name: "obedient", start: func(_ context.Context, env *Env) (func(context.Context) error, error) {
			return env.run("obedient", func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(3 * time.Second) // an attempt in flight; the time is not real
				r.events = append(r.events, "obedient ended")
				return ctx.Err()
			}), nil
		}}
		release := make(chan struct{})
		deaf := part{name: "deaf", start: func(context.Context, *Env) (func(context.Context) error, error) {
			return func(context.Context) error { <-release; return nil }, nil
		}}
		a, err := startParts([]part{r.part("one"), deaf, obedient}, "one", "deaf", "obedient")
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		err = a.Stop(ctx)
		close(release)
		if err == nil || !strings.HasPrefix(err.Error(), "stop deaf: left behind") {
			t.Errorf("got %v", err)
		}
		if diff := cmp.Diff([]string{"start one", "obedient ended", "stop one"}, r.events); diff != "" {
			t.Error(diff)
		}
		if took := time.Since(began); took != 25*time.Second {
			t.Errorf("it took %s, want the grace and a moment", took)
		}
	})
}

func TestEnv_AwaitsNeighboursButNotForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		env := &Env{Log: slog.New(slog.DiscardHandler)}
		tries := 0
		err := env.await(t.Context(), "a neighbour", func(context.Context) error {
			if tries++; tries < 4 {
				return errors.New("refused")
			}
			return nil
		})
		if err != nil || tries != 4 {
			t.Errorf("%d tries, %v", tries, err)
		}
		fatal := errors.New("wrong password")
		tries = 0
		err = env.await(t.Context(), "a neighbour", func(context.Context) error { tries++; return fmt.Errorf("x: %w", permanentError{fatal}) })
		if !errors.Is(err, fatal) || tries != 1 {
			t.Errorf("%d tries, %v", tries, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err = env.await(ctx, "a neighbour", func(context.Context) error { return fatal })
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, fatal) {
			t.Errorf("got %v, want both reasons", err)
		}
	})
}
