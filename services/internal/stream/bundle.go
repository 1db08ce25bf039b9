package stream

import (
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	pipelinev1 "github.com/posthaste/posthaste/services/internal/gen/posthaste/pipeline/v1"
)

// headerParts says that a message is a bundle, and of how many.
const headerParts = "Posthaste-Parts"

// Limits of a bundle: what is read ahead of a consumer is bounded by them.
const (
	maxParts       = 250
	maxBundleBytes = 256 << 10
)

// pack makes bundles of messages that go to the same subject, and says for each
// message in which of the results it is. The order within a subject is kept.
func pack(msgs []Message, bundle func(subject string) string) (packed []Message, at []int, err error) {
	type open struct {
		at    int // in packed
		parts []*pipelinev1.Bundle_Part
		size  int
	}
	at = make([]int, len(msgs))
	opened := make(map[string]*open)
	members := make([][]*pipelinev1.Bundle_Part, 0, len(msgs))
	for i, m := range msgs {
		to := bundle(m.Subject)
		o := opened[to]
		if o == nil || o.size+len(m.Data) > maxBundleBytes || len(o.parts) == maxParts {
			o = &open{at: len(packed)}
			opened[to] = o
			packed = append(packed, Message{Subject: to, Header: m.Header, Data: m.Data})
			members = append(members, nil)
		}
		part := &pipelinev1.Bundle_Part{Subject: m.Subject, Data: m.Data}
		for name, values := range m.Header {
			if len(values) > 0 {
				if part.Headers == nil {
					part.Headers = make(map[string]string, len(m.Header))
				}
				part.Headers[name] = values[0]
			}
		}
		o.parts, o.size = append(o.parts, part), o.size+len(m.Data)
		members[o.at], at[i] = o.parts, o.at
	}
	for i, parts := range members {
		if len(parts) == 1 {
			packed[i].Subject = parts[0].GetSubject() // it goes as it is
			continue
		}
		data, err := proto.Marshal(&pipelinev1.Bundle{Parts: parts})
		if err != nil {
			return nil, nil, err
		}
		packed[i].Data = data
		packed[i].Header = map[string][]string{headerParts: {strconv.Itoa(len(parts))}}
	}
	return packed, at, nil
}

// unpack appends the message, or the parts of a bundle. What can't be read goes as
// it is: whoever decodes it finds out.
func unpack(batch []*Received, m jetstream.Msg) []*Received {
	whole := received(m)
	if whole.Header.Get(headerParts) == "" {
		return append(batch, whole)
	}
	var b pipelinev1.Bundle
	if err := proto.Unmarshal(whole.Data, &b); err != nil || len(b.GetParts()) == 0 {
		return append(batch, whole)
	}
	together := &together{left: len(b.GetParts())}
	for i, part := range b.GetParts() {
		r := *whole
		r.Subject, r.Data, r.Part, r.together = part.GetSubject(), part.GetData(), i, together
		r.Header = make(map[string][]string, len(part.GetHeaders()))
		for name, value := range part.GetHeaders() {
			r.Header[name] = []string{value}
		}
		batch = append(batch, &r)
	}
	return batch
}

// together is what the parts of a bundle share: it is acknowledged when all of
// them are, and comes again, all of it, when one was handed back.
type together struct {
	mu    sync.Mutex
	left  int
	delay time.Duration // of the longest hand-back
	nak   bool
}

var errTwice = errors.New("it was acknowledged already")

// end notes that a part has ended; the last one says how all have.
func (t *together) end(nak bool, delay time.Duration) (last, handBack bool, after time.Duration, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.left == 0 {
		return false, false, 0, errTwice
	}
	t.left--
	t.nak = t.nak || nak
	t.delay = max(t.delay, delay)
	return t.left == 0, t.nak, t.delay, nil
}
