package stream_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

// bundles publishes in bundles by slot and consumes.
func bundles(t *testing.T) (*stream.Publisher, *stream.Consumer) {
	t.Helper()
	js := testkit.JetStream(t)
	p := stream.NewPublisher(js, stream.Raw, stream.PublisherOptions{Bundle: func(s string) string { return subject.Bundle(s, 2) }})
	t.Cleanup(p.Close)
	c, err := stream.NewConsumer(t.Context(), js, stream.ConsumerOptions{Stream: stream.Raw, Durable: "normalizer-raw-0", Kind: "raw"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return p, c
}

func next(t *testing.T, c *stream.Consumer, n int) []*stream.Received {
	t.Helper()
	var all []*stream.Received
	for len(all) < n {
		batch, err := c.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, batch...)
	}
	return all
}

func raws(n, size int) []stream.Message {
	msgs := make([]stream.Message, n)
	for i := range msgs {
		msgs[i] = stream.Message{
			Subject: subject.Raw("canonical", "sf", fmt.Sprint("SF", i)), Data: fmt.Appendf(nil, "%d %*d", i, size, 0),
			Header: map[string][]string{"traceparent": {fmt.Sprint("t", i)}},
		}
	}
	return msgs
}

// What goes in bundles arrives as if it hadn't, in few messages.
func TestBundle_ArrivesInPartsAsTheyWere(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ n, size, most int }{{1, 10, 1}, {2, 10, 2}, {600, 10, 4}, {40, 100_000, 40}} {
		p, c := bundles(t)
		msgs := raws(test.n, test.size)
		if err := p.Publish(t.Context(), msgs...); err != nil {
			t.Fatal(err)
		}
		lastOf := map[string]int{}
		stored := map[uint64]bool{}
		seen := map[int]bool{}
		for _, r := range next(t, c, test.n) {
			var i, zero int
			if _, err := fmt.Sscan(string(r.Data), &i, &zero); err != nil {
				t.Fatal(err)
			}
			if r.Subject != msgs[i].Subject || string(r.Data) != string(msgs[i].Data) || r.Header.Get("traceparent") != fmt.Sprint("t", i) {
				t.Errorf("message %d is another: %s %v", i, r.Subject, r.Header)
			}
			to := subject.Bundle(r.Subject, 2)
			if seen[i] || lastOf[to] > i {
				t.Errorf("message %d comes again or late", i)
			}
			seen[i], lastOf[to], stored[r.Seq] = true, i, true
			if err := r.Ack(); err != nil {
				t.Fatal(err)
			}
		}
		if len(stored) > test.most {
			t.Errorf("%d messages of %d bytes were stored as %d", test.n, test.size, len(stored))
		}
	}
}

// A bundle comes again when a part of it was handed back, and only then.
func TestBundle_EndsWhenAllOfItHas(t *testing.T) {
	t.Parallel()
	p, c := bundles(t)
	if err := p.Publish(t.Context(), raws(50, 10)...); err != nil {
		t.Fatal(err)
	}
	batch := next(t, c, 50)
	again := batch[7].Seq
	parts := 0
	for i, r := range batch {
		end := r.Ack
		if r.Seq == again {
			parts++
		}
		if i == 7 {
			end = func() error { return r.Nak(time.Nanosecond) }
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
	}
	if err := batch[0].Ack(); err == nil {
		t.Error("a part ended twice")
	}
	for i, r := range next(t, c, parts) {
		if r.Seq != again || !r.Redelivered || r.Part != i {
			t.Errorf("part %d of message %d came, redelivered is %t", r.Part, r.Seq, r.Redelivered)
		}
		if err := r.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	// What comes now is new.
	if err := p.Publish(t.Context(), raws(1, 10)...); err != nil {
		t.Fatal(err)
	}
	if r := next(t, c, 1)[0]; r.Redelivered || r.Seq <= batch[len(batch)-1].Seq {
		t.Errorf("message %d came again", r.Seq)
	}
}
