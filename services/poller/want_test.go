package poller_test

import (
	"testing"
	"time"

	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/track"
)

// What is only asked after is polled for a while, and then forgotten.
func TestPolls_WantWhatNobodySubscribesTo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	polls := pg.NewPolls(w.pool)
	if err := polls.Configure(t.Context(), map[track.Carrier]string{"sf-express": "kdniao"}, time.Hour); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	b := track.Waybill{Carrier: "sf-express", Number: "SF1000000000001"}
	want := func(b track.Waybill, phone string, until time.Time) {
		t.Helper()
		if err := polls.Want(t.Context(), b, phone, until); err != nil {
			t.Fatal(err)
		}
	}
	claim := func(at time.Time) []pg.DuePoll {
		t.Helper()
		due, err := polls.Claim(t.Context(), "kdniao", at, time.Minute, 10)
		if err != nil {
			t.Fatal(err)
		}
		return due
	}
	want(track.Waybill{Carrier: "ups", Number: "1Z999AA10123456784"}, "", now.Add(time.Hour)) // isn't polled
	want(b, "1111", now.Add(48*time.Hour))
	want(b, "2222", now.Add(48*time.Hour)) // another try, as long as nothing was told
	due := claim(time.Now().Add(time.Second))
	if len(due) != 1 || due[0].Waybill != b || !due[0].Wanted || due[0].Phone != "2222" {
		t.Fatalf("due are %+v", due)
	}
	told := time.Now()
	err := polls.Finish(t.Context(), []pg.Polled{{Waybill: b, Time: told, Next: told.Add(time.Hour), Changed: true, Fingerprint: []byte("x")}})
	if err != nil {
		t.Fatal(err)
	}
	// A number that brought answers stays, whatever others guess.
	want(b, "3333", now.Add(72*time.Hour))
	if due := claim(time.Now().Add(time.Second)); len(due) != 0 {
		t.Errorf("asked after again, it is asked for at once: %+v", due)
	}
	due = claim(now.Add(2 * time.Hour))
	if len(due) != 1 || due[0].Phone != "2222" || !due[0].Wanted {
		t.Errorf("due are %+v", due)
	}
	// Nobody asked for long: it is claimed once more, and dropped.
	due = claim(now.Add(100 * time.Hour))
	if len(due) != 1 || due[0].Wanted {
		t.Fatalf("due are %+v", due)
	}
	drop := []pg.Polled{{Waybill: b, Unwanted: true}}
	if err := polls.Finish(t.Context(), drop); err != nil { // somebody asked since the claim, by PostgreSQL's clock
		t.Fatal(err)
	}
	count := func() (n int) {
		t.Helper()
		if err := w.pool.QueryRow(t.Context(), `SELECT count(*) FROM poll`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if count() != 1 {
		t.Error("what is wanted was dropped")
	}
	if _, err := w.pool.Exec(t.Context(), `UPDATE poll SET wanted_until = now() - interval '1 second'`); err != nil {
		t.Fatal(err)
	}
	if err := polls.Finish(t.Context(), drop); err != nil {
		t.Fatal(err)
	}
	if count() != 0 {
		t.Error("what nobody wants stays in the queue")
	}
}
