package delivery

import (
	"testing"
	"time"
)

func TestBreaker_OpensAfterFailuresInARowAndClosesByAProbe(t *testing.T) {
	t.Parallel()
	var b breaker
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	at := func(s int) time.Time { return now.Add(time.Duration(s) * time.Second) }
	b.fail(at(0), at(0), 3, "timeout", 0)
	b.fail(at(0), at(1), 3, "timeout", 0)
	if b.succeed(at(0), at(1)); b.open() || b.failures != 0 {
		t.Fatalf("after a success: %+v", b)
	}
	for i := range 3 {
		opens, probe := b.fail(at(2), at(3), 3, "http_500", 500)
		if opens != (i == 2) || probe {
			t.Errorf("failure %d: opens %t, probe %t", i+1, opens, probe)
		}
	}
	// What was under way when it opened says nothing of a recovery, and is no probe.
	if opens, probe := b.fail(at(2), at(4), 3, "http_500", 500); opens || probe {
		t.Errorf("a straggler: opens %t, probe %t", opens, probe)
	}
	if b.succeed(at(2), at(4)) || !b.open() {
		t.Error("a straggler closed it")
	}
	if opens, probe := b.fail(at(10), at(11), 3, "http_500", 500); opens || !probe || b.probes != 1 {
		t.Errorf("a probe: opens %t, probe %t, %d failed", opens, probe, b.probes)
	}
	if !b.succeed(at(20), at(21)) || b.open() {
		t.Error("an acknowledged probe didn't close it")
	}
}

func TestBreaker_OpensWhenMostAttemptsFail(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name  string
		every time.Duration
		fails int // of 10, never three in a row beyond the threshold
		opens bool
	}{
		{"eight of ten", time.Second, 8, true},
		{"half", time.Second, 5, false},
		{"eight of ten, spread over an hour", 6 * time.Minute, 8, false},
	} {
		var b breaker
		opened := false
		for i := range 40 {
			at := now.Add(time.Duration(i) * tt.every)
			if i%10 < tt.fails {
				opens, _ := b.fail(at, at, 100, "http_500", 500)
				opened = opened || opens
			} else {
				b.succeed(at, at)
			}
		}
		if opened != tt.opens {
			t.Errorf("%s: opened %t", tt.name, opened)
		}
	}
}
