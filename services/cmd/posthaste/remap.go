package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/nats-io/nats.go"           //nolint:depguard // a tool connects by itself
	"github.com/nats-io/nats.go/jetstream" //nolint:depguard // the same
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/app"
	"github.com/posthaste/posthaste/services/internal/carrier"
	pipelinev1 "github.com/posthaste/posthaste/services/internal/gen/posthaste/pipeline/v1"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/wire"
)

// remapCmd maps history anew. It asks for it in the stream of raw traces; the
// normalizer does it, so that changes come as revisions like all others.
type remapCmd struct {
	NATS   app.SecretURL `name:"nats-url" default:"nats://127.0.0.1:4222" help:"NATS of the program that runs."`
	Creds  string        `name:"nats-credentials" type:"path" help:"Credentials file (.creds) for NATS."`
	Source string        `env:"-" help:"Only what this source told, such as sf."`
	DryRun bool          `env:"-" help:"Only say what would change."`
}

// remapBatch is how many waybills are asked for at once.
const remapBatch = 500

// Help is shown by kong.
func (*remapCmd) Help() string {
	return "Events that were mapped by older tables are mapped by this version's, from the codes that are kept with them. A waybill of which an event " +
		"changes gets a new revision, and its subscriptions a push. Codes that are still unknown stay as they are. It can be stopped and run again at any " +
		"time; a second run finds nothing to do. Waybills that left the stream for long are mapped anew when they are next told of."
}

// Run is called by kong.
func (c *remapCmd) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	opts := []nats.Option{nats.Name("posthaste remap")}
	if c.Creds != "" {
		opts = append(opts, nats.UserCredentials(c.Creds))
	}
	nc, err := nats.Connect(c.NATS.Reveal(), opts...)
	if err != nil {
		return fmt.Errorf("connect to NATS at %s: %w; is Posthaste running?", c.NATS, err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("use NATS: %w", err)
	}
	return c.remap(ctx, js, os.Stdout)
}

// remap looks at every trace of the stream.
func (c *remapCmd) remap(ctx context.Context, js jetstream.JetStream, out io.Writer) error {
	raw := stream.NewPublisher(js, stream.Raw, stream.PublisherOptions{}) //nolint:contextcheck // what is queued is sent after a stop too
	defer raw.Close()
	r := remapping{cmd: c, raw: raw, changes: map[string]int{}}
	err := stream.Each(ctx, js, stream.Trace, func(m stream.Stored) error { return r.look(ctx, m.Data) })
	if err = errors.Join(err, r.flush(ctx)); err != nil {
		return err
	}
	return r.print(out)
}

// remapping is a run.
type remapping struct {
	cmd              *remapCmd
	raw              *stream.Publisher
	pending          []stream.Message
	waybills, events int
	changes          map[string]int
}

// look asks for a waybill to be mapped anew when that changes it.
func (r *remapping) look(ctx context.Context, data []byte) error {
	t, err := wire.Decode(data, 0)
	if err != nil {
		return fmt.Errorf("read a trace: %w", err)
	}
	var n int
	for _, e := range carrier.RemapTrace(t) {
		if r.cmd.Source != "" && e.Provenance.Source != r.cmd.Source {
			continue
		}
		n++
		now := e.Sub.String()
		if now == "" {
			now = e.Status.String()
		}
		r.changes[fmt.Sprintf("%s %s → %s", e.Provenance.Source, e.RawCode, now)]++
	}
	if n == 0 {
		return nil
	}
	r.waybills, r.events = r.waybills+1, r.events+n
	if r.cmd.DryRun {
		return nil
	}
	w := t.Waybill
	body, err := proto.Marshal(&pipelinev1.RawTrace{
		Source: carrier.RemapSource, SourceKind: trackingv1.SourceKind_SOURCE_KIND_TEAM, CarrierCode: string(w.Carrier), WaybillNumber: string(w.Number),
		Context: map[string]string{carrier.RemapSource: r.cmd.Source}, ReceiveTime: timestamppb.Now(),
	})
	if err != nil {
		return fmt.Errorf("ask for %s %s to be mapped anew: %w", w.Carrier, w.Number, err)
	}
	r.pending = append(r.pending, stream.Message{Subject: subject.Raw(carrier.RemapSource, string(w.Carrier), string(w.Number)), Data: body})
	if len(r.pending) >= remapBatch {
		return r.flush(ctx)
	}
	return nil
}

func (r *remapping) flush(ctx context.Context) error {
	if len(r.pending) == 0 {
		return nil
	}
	msgs := r.pending
	r.pending = nil
	if err := r.raw.Publish(ctx, msgs...); err != nil {
		return fmt.Errorf("ask for %d waybills to be mapped anew: %w", len(msgs), err)
	}
	return nil
}

func (r *remapping) print(out io.Writer) error {
	verb := "are being mapped anew"
	if r.cmd.DryRun {
		verb = "would be mapped anew"
	}
	text := fmt.Sprintf("%d events of %d waybills %s.\n", r.events, r.waybills, verb)
	var changes strings.Builder
	for _, change := range slices.Sorted(maps.Keys(r.changes)) {
		_, _ = fmt.Fprintf(&changes, "%8d  %s\n", r.changes[change], change)
	}
	text += changes.String()
	_, err := io.WriteString(out, text)
	return err
}
