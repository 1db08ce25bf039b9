package attacks

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/stream"
)

// runNATS talks to the bus as somebody who may not.
func runNATS(ctx context.Context, w *World, c *Case) (*Outcome, error) {
	o := &Outcome{}
	in := &c.Input
	if !in.Has("message") {
		return o, o.busCaller(ctx, w, in)
	}
	words := in.Text("message")
	p, err := w.product(ctx, "lab")
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect("nats://" + p.at.NATS)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	defer nc.Close()
	n, err := parseSize(words)
	if err == nil && says(words, "MiB", "payload") {
		if says(words, "+ 1") {
			n++
		}
		// The product's limit is 8 MiB, so that a push with a whole trace fits.
		limit := nc.MaxPayload()
		err := nc.Publish(subject.Raw("canonical", "sf", "X1234"), make([]byte, max(int64(n), limit+1)))
		o.holds("maximum payload|violation", errors.Is(err, nats.ErrMaxPayload), "it is answered %v, the limit is %d", err, limit)
		return o, nil
	}
	random := make([]byte, 500)
	for i := range random {
		random[i] = byte(rand.IntN(256)) //nolint:gosec // any bytes
	}
	if _, err := nc.Request(subject.Raw("canonical", "sf", "POISON1"), random, 5*time.Second); err != nil {
		return nil, fmt.Errorf("publish poison: %w", err)
	}
	o.check("flow goes on|flow|goes on", p.flows(ctx, w))
	o.check("quarantine|counted|tries|dead", await(ctx, "the poison to be set aside", func() (bool, error) {
		found, err := p.inStreams(ctx, string(random))
		return len(found) > 0 && strings.Contains(strings.Join(found, " "), stream.Rejected), err
	}))
	return o, nil
}

// guarded is a product whose NATS knows its users: those that are shipped.
func (w *World) guarded(ctx context.Context) (*product, error) {
	if p, ok := w.products["guarded"]; ok {
		return p, nil
	}
	text, err := os.ReadFile(filepath.Join(w.opts.Root, "deploy", "nats", "users.conf"))
	if err != nil {
		return nil, err
	}
	conf := regexp.MustCompile(`\$[A-Z_]+_PASSWORD`).ReplaceAllString(string(text), busPassword)
	file := filepath.Join(w.dir, "users.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil { //nolint:gosec // a name of ours, not a secret; or what a tool of tests is told
		return nil, err
	}
	p, err := w.start(ctx, "guarded", "--egress-policy=lab", "--nats-users="+file)
	if err == nil {
		w.products["guarded"] = p
		w.own = append(w.own, busPassword)
	}
	return p, err
}

const busPassword = "attack-bus-password-91c3"

// busCaller does what a user of the bus may not.
func (o *Outcome) busCaller(ctx context.Context, w *World, in *Map) error {
	p, err := w.guarded(ctx)
	if err != nil {
		return err
	}
	if in.Has("connect") {
		words := in.Text("connect")
		opts := []nats.Option{}
		if says(words, "wrong", "password") {
			opts = append(opts, nats.UserInfo("team-a", "wrong"))
		}
		nc, err := nats.Connect("nats://"+p.at.NATS, opts...)
		if err == nil {
			nc.Close()
		}
		o.holds("authorization|refused|violation", errors.Is(err, nats.ErrAuthorization), "it is answered %v", err)
		return nil
	}
	user := strings.Fields(in.Text("as") + " x")[0]
	if says(in.Text("as"), "tenant", "reader", "team") {
		user = "team-a"
	}
	violated := make(chan error, 16)
	nc, err := nats.Connect("nats://"+p.at.NATS, nats.UserInfo(user, busPassword), nats.CustomInboxPrefix(inboxOf(user)),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			select {
			case violated <- err:
			default:
			}
		}))
	if err != nil {
		return fmt.Errorf("connect as %s: %w", user, err)
	}
	defer nc.Close()
	var tries []string
	switch {
	case in.Has("sub"):
		words := in.Text("sub")
		subjects := []string{words}
		if says(words, "tenant", "subjects") {
			subjects = []string{"posthaste.v1.trace.*.zto.>", "posthaste.v1.push.>", "_INBOX.>"}
		}
		for _, s := range subjects {
			tries = append(tries, "sub "+s)
		}
	case in.Has("pub"):
		words := in.Text("pub")
		for name, s := range map[string]string{"raw": subject.Raw("canonical", "sf", "X1234"), "trac": subject.Trace("sf", "X1234"), "push": subject.Push("ep_1"), "reject": subject.Rejected("x")} {
			if says(words, name) {
				tries = append(tries, "pub "+s)
			}
		}
		if len(tries) == 0 {
			tries = append(tries, "pub "+strings.Fields(words)[0])
		}
	case in.Has("request"):
		words := in.Text("request")
		for what, s := range map[string]string{
			"PURGE": "$JS.API.STREAM.PURGE.POSTHASTE_RAW", "DELETE": "$JS.API.STREAM.DELETE.POSTHASTE_TRACE", "UPDATE": "$JS.API.STREAM.UPDATE.POSTHASTE_TRACE",
			"MSG.GET": "$JS.API.STREAM.MSG.GET.POSTHASTE_TRACE", "MSG.DELETE": "$JS.API.STREAM.MSG.DELETE.POSTHASTE_TRACE", "DIRECT": "$JS.API.DIRECT.GET.POSTHASTE_TRACE",
			"CONSUMER.CREATE": "$JS.API.CONSUMER.CREATE.POSTHASTE_TRACE.team-a.posthaste.v1.trace.>",
		} {
			if says(words, what) {
				tries = append(tries, "pub "+s)
			}
		}
		if len(tries) == 0 {
			return fmt.Errorf("the runner doesn't know the request %q", words)
		}
	default:
		return fmt.Errorf("the runner doesn't know such a case: %w", in.rest())
	}
	for _, try := range tries {
		verb, s, _ := strings.Cut(try, " ")
		if verb == "sub" {
			_, err = nc.SubscribeSync(s)
		} else {
			err = nc.PublishRequest(s, nc.NewInbox(), []byte("{}"))
		}
		if err == nil {
			err = nc.FlushTimeout(5 * time.Second)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", try, err)
		}
		select {
		case err = <-violated:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				o.problem("%s is answered %v", try, err)
			}
		case <-time.After(2 * time.Second):
			o.problem("%s as %s is allowed", try, user)
		}
	}
	o.check("permission|violation|refused|stored", nil)
	if user == "team-a" {
		o.check(".", grantedTraces(ctx, nc))
	}
	return nil
}

func inboxOf(user string) string {
	if user == "team-a" {
		return "_INBOX_team-a"
	}
	return "_INBOX"
}

// grantedTraces follows what the reader may: a lock that nothing opens is no lock.
func grantedTraces(ctx context.Context, nc *nats.Conn) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err = js.CreateConsumer(ctx, "POSTHASTE_TRACE", jetstream.ConsumerConfig{Durable: "team-a", FilterSubject: "posthaste.v1.trace.*.sf.>"})
	if err != nil && !errors.Is(err, jetstream.ErrConsumerExists) {
		return fmt.Errorf("what is granted is refused: %w", err)
	}
	return nil
}
