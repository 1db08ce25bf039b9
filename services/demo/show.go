package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/pkg/payload"
	"github.com/posthaste/posthaste/pkg/trace"
	"github.com/posthaste/posthaste/pkg/webhook"
)

// Addresses are where Posthaste is reached: host:port each. NATS may be empty.
type Addresses struct{ HTTP, GRPC, Ops, NATS string }

// Control is what the show needs of the control plane.
type Control interface {
	CreateEndpoint(ctx context.Context, n client.NewEndpoint) (client.Endpoint, error)
	CreateSubscriptions(ctx context.Context, ns []client.NewSubscription) ([]client.SubscriptionResult, error)
	CancelSubscription(ctx context.Context, name string) (client.Subscription, error)
}

// Config is what the show is run with. All but Samples is required.
type Config struct {
	Addresses Addresses
	Accounts  Accounts
	Control   Control
	Out       io.Writer
	Now       func() time.Time
	// Once ends the show when all was played. Otherwise one parcel's last step is
	// left to the reader, and callbacks are shown until the context ends.
	Once bool
	// Samples is a folder of pushes to replay after the journeys.
	Samples string
	// Pace is the pause between steps.
	Pace time.Duration
	// Patience is the longest wait for one callback.
	Patience time.Duration
}

// show is a show under way.
type show struct {
	Config
	*printer
	receiver *receiver
	endpoint string
	// subscriptions are the names of those made.
	subscriptions []string
}

// Run plays the show. It returns an error unless every callback that was to
// come came, verified, in a chain without a gap, and left each parcel where it
// should be.
func Run(ctx context.Context, cfg Config) (err error) {
	p := &printer{out: cfg.Out}
	s := &show{Config: cfg, printer: p, receiver: newReceiver(p.push)}
	all, err := journeys(cfg.Accounts, cfg.Now())
	if err != nil {
		return err
	}
	secret := webhook.NewSecret()
	key, err := webhook.ParseSecret(secret)
	if err != nil {
		return fmt.Errorf("make secret: %w", err)
	}
	url, stop, err := s.receiver.serve(ctx, key)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.unsubscribe(ctx), stop()) }()
	e, err := cfg.Control.CreateEndpoint(ctx, client.NewEndpoint{URL: url, Secret: client.Secret(secret), DisplayName: "demo"})
	if err != nil {
		return err
	}
	s.endpoint = e.Name
	s.say("Posthaste is up. A callback listens at %s;\nit shows what is pushed to it once the signature is right.", url)

	pushed := 0
	for _, j := range all {
		n, err := s.play(ctx, j)
		if err != nil {
			return err
		}
		pushed += n
	}
	if cfg.Samples != "" {
		if err := s.replay(ctx); err != nil {
			return err
		}
	}
	s.say("\nEvery callback came, verified, and each parcel's chain of revisions is without a gap: %d steps of %d parcels.", pushed, len(all))
	if cfg.Once {
		return nil
	}
	s.whatNext(all[len(all)-1])
	<-ctx.Done()
	return nil
}

// subscribe asks for callbacks about waybills.
func (s *show) subscribe(ctx context.Context, ids ...trace.ID) error {
	ns := make([]client.NewSubscription, 0, len(ids))
	for _, id := range ids {
		ns = append(ns, client.NewSubscription{Endpoint: s.endpoint, Waybill: id, Metadata: map[string]string{"order_id": "order-of-" + id.WaybillNumber}})
	}
	results, err := s.Control.CreateSubscriptions(ctx, ns)
	if err != nil {
		return err
	}
	for _, r := range results {
		if r.Err != nil {
			return fmt.Errorf("subscribe the waybills of the demo: %w", r.Err)
		}
		s.subscriptions = append(s.subscriptions, r.Subscription.Name)
	}
	return nil
}

// unsubscribe ends what the show subscribed: its callback is about to go, and
// on the same data the next show would owe it pushes.
func (s *show) unsubscribe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Patience)
	defer cancel()
	var errs []error
	for _, name := range s.subscriptions {
		if _, err := s.Control.CancelSubscription(ctx, name); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// play pushes a journey step by step, and returns how many were pushed. Each
// step makes one revision and one callback, and the repeat none: else the
// revision of the step after it would be another.
func (s *show) play(ctx context.Context, j journey) (int, error) {
	s.say("\n%s %s: %s", j.id.CarrierCode, j.id.WaybillNumber, j.title)
	if err := s.subscribe(ctx, j.id); err != nil {
		return 0, err
	}
	steps := j.steps
	if j.yours && !s.Once {
		steps = steps[:len(steps)-1]
	}
	var last payload.Push
	for i, step := range steps {
		if err := s.pause(ctx); err != nil {
			return 0, err
		}
		if err := s.send(ctx, j.source, step); err != nil {
			return 0, err
		}
		want := uint64(i) + 1
		var err error
		if last, err = s.await(ctx, j.id, func(c webhook.Chain, _ payload.Push) bool { return c.Revision >= want }); err != nil {
			return 0, err
		}
		if last.Revision != want {
			return 0, fmt.Errorf("%s: revision is %d after %d steps", j.id, last.Revision, want)
		}
		if i == j.repeat {
			s.say("  → the same push again: silence")
			if err := s.send(ctx, j.source, step); err != nil {
				return 0, err
			}
		}
	}
	if len(steps) == len(j.steps) && last.Waybill.SubStatus != j.final.String() {
		return 0, fmt.Errorf("%s: it ends as %q, and should as %q", j.id, last.Waybill.SubStatus, j.final)
	}
	return len(steps), nil
}

var errPatience = errors.New("it took too long")

func (s *show) await(ctx context.Context, id trace.ID, done func(webhook.Chain, payload.Push) bool) (payload.Push, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.Patience, errPatience)
	defer cancel()
	return s.receiver.await(ctx, id, done)
}

// pause keeps the pace.
func (s *show) pause(ctx context.Context) error {
	select {
	case <-time.After(s.Pace):
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// answerLimit bounds what is read of an answer.
const answerLimit = 64 << 10

// send posts a push as its platform would. Anything but the answer that stops
// the platform from repeating is an error.
func (s *show) send(ctx context.Context, source string, doc []byte) error {
	p, err := s.Accounts.sign(source, doc, s.Now())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.Addresses.HTTP+p.Path, bytes.NewReader(p.Body))
	if err != nil {
		return fmt.Errorf("make push: %w", err)
	}
	for name, value := range p.Header {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK || !accepted(source, body) {
		return fmt.Errorf("push to %s: it was answered with %s: %s", p.Path, resp.Status, body)
	}
	return nil
}
