package e2e

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/app"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

// Everything is stopped while reports stream in: what was accepted is pushed
// after the start, and nothing that was acknowledged is pushed again.
func TestStop_UnderLoadLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	onEach(t, func(d *deployment) {
		t := d.t
		c := d.callback(client.NewEndpoint{})
		const waybills, before = 200, 400
		numbers := make([]string, waybills)
		for i := range numbers {
			numbers[i] = fmt.Sprint("SFLOAD", i)
		}
		d.subscribe(c, numbers...)
		accepted := make(chan map[string]bool, 1)
		go func() {
			// Event n of each waybill, round by round, until a call fails: the stop.
			ids := make(map[string]bool)
			defer func() { accepted <- ids }()
			// Not for ever: a slow machine would make traces of many thousand events.
			const rounds = 60
			for n := range rounds {
				var events []client.ReportedEvent
				for i := range numbers {
					e := moving(numbers[i], 1)
					e.EventID, e.Text, e.Time = fmt.Sprint("e", n), fmt.Sprint(numbers[i], "-", n), e.Time.Add(time.Duration(n)*time.Second)
					events = append(events, e)
				}
				if _, err := d.Reports.ReportEvents(context.WithoutCancel(t.Context()), events); err != nil {
					return
				}
				for _, e := range events {
					ids[e.Text] = true
				}
			}
		}()
		c.Await(before)
		d.Stop()
		want := <-accepted
		stopped := len(c.Requests())
		d.Start()
		for len(want) > 0 {
			for _, e := range c.nextPush().Events {
				delete(want, e.Text)
			}
		}
		// A repeat would come before what is reported now, or has come.
		d.subscribe(c, "SFSENTINEL")
		d.report(moving("SFSENTINEL", 1))
		c.await("SFSENTINEL")
		seen := map[string]int{}
		for _, r := range c.Requests() {
			seen[r.Header.Get(webhook.HeaderID)]++
		}
		for id, n := range seen {
			if n > 1 {
				t.Errorf("%s was pushed %d times, and acknowledged each time", id, n)
			}
		}
		t.Logf("%d pushes before the stop, %d in all", stopped, len(c.Requests()))
	})
}

// A second signal ends a process that waits for an endpoint at once, and that
// loses nothing.
func TestStop_ASecondSignalEndsItAtOnce(t *testing.T) {
	t.Parallel()
	onEach(t, func(d *deployment) {
		t := d.t
		// Longer than a stop's grace: only the signal can end it by a signal.
		c := d.callback(client.NewEndpoint{Timeout: 30 * time.Second})
		c.Always(testkit.Hang())
		d.subscribe(c, "SFTWICE1")
		d.report(moving("SFTWICE1", 1))
		c.Next() // an attempt is under way, and hangs
		for _, p := range d.processes {
			if p.program != app.AllInOne && p.program != app.Delivery {
				continue
			}
			d.signal(p)
			p.says(t, "msg=stopping")
			d.signal(p)
			var exit *exec.ExitError
			if err := p.wait(); !errors.As(err, &exit) {
				t.Fatalf("%s ended with %v", p.program, err)
			}
			if status, ok := exit.Sys().(syscall.WaitStatus); !ok || !status.Signaled() {
				t.Errorf("%s ended with %v, and not by the signal", p.program, exit)
			}
		}
		c.Always(testkit.Status(200))
		for _, p := range d.processes {
			if p.program != app.AllInOne && p.program != app.Delivery {
				_ = p.cmd.Process.Kill()
				_ = p.wait() // killed
			}
		}
		d.Start()
		c.await("SFTWICE1")
	})
}

func (d *deployment) signal(p *process) {
	d.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		d.t.Fatal(err)
	}
}

// says waits until a process has logged a text.
func (p *process) says(t *testing.T, text string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(p.log(), text) {
		select {
		case <-tick.C:
		case <-p.ended:
			t.Fatalf("%s ended before it said %q:\n%s", p.program, text, p.log())
		case <-t.Context().Done():
			t.Fatalf("%s never said %q:\n%s", p.program, text, p.log())
		}
	}
}
