package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	deliveryv1 "github.com/posthaste/posthaste/pkg/api/posthaste/delivery/v1"
	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	tenantv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/app"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// remote is what the commands have in common that ask a running Posthaste.
type remote struct {
	Server string     `default:"127.0.0.1:9090" env:"POSTHASTE_SERVER" placeholder:"HOST:PORT" help:"The gRPC server of a running Posthaste."`
	Tenant string     `default:"default" env:"POSTHASTE_TENANT" help:"Whose endpoints, subscriptions and pushes."`
	APIKey app.Secret `name:"api-key" env:"POSTHASTE_API_KEY" help:"The key to call with, if the server asks for one."`
	TLS    bool       `name:"tls" env:"POSTHASTE_SERVER_TLS" help:"Encrypt, and trust the certificates that the system trusts."`
	JSON   bool       `name:"json" env:"-" help:"Print a line of JSON for each thing, with the API's field names."`
}

// callTimeout bounds each call but a watch.
const callTimeout = 30 * time.Second

// connection is a remote that was dialled.
type connection struct {
	*remote

	out           io.Writer
	endpoints     subscriptionv1.EndpointServiceClient
	subscriptions subscriptionv1.SubscriptionServiceClient
	waybills      trackingv1.WaybillServiceClient
	pushes        deliveryv1.PushServiceClient
	feeds         tenantv1.FeedServiceClient
}

// with dials, works until that is done or a signal comes, and says what went wrong
// in the server's words.
func (r *remote) with(work func(ctx context.Context, c *connection) error) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	secure := insecure.NewCredentials()
	if r.TLS {
		secure = credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12})
	}
	conn, err := grpc.NewClient(r.Server, grpc.WithTransportCredentials(secure))
	if err != nil {
		return fmt.Errorf("--server %s: %w", r.Server, err)
	}
	defer func() { _ = conn.Close() }()
	if key := r.APIKey.Reveal(); key != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
	}
	err = work(ctx, &connection{
		remote: r, out: os.Stdout,
		endpoints: subscriptionv1.NewEndpointServiceClient(conn), subscriptions: subscriptionv1.NewSubscriptionServiceClient(conn),
		waybills: trackingv1.NewWaybillServiceClient(conn), pushes: deliveryv1.NewPushServiceClient(conn),
		feeds: tenantv1.NewFeedServiceClient(conn),
	})
	if st, ok := status.FromError(err); ok && err != nil {
		return fmt.Errorf("%s: %s (%s)", r.Server, st.Message(), st.Code())
	}
	return err
}

// call makes one call, bounded in time.
func call[Q, A any](ctx context.Context, method func(context.Context, Q, ...grpc.CallOption) (A, error), req Q) (A, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return method(ctx, req)
}

func (r *remote) parent() string { return rpc.TenantName(r.Tenant) }

// endpoint takes a name or an id; nothing stays nothing.
func (r *remote) endpoint(name string) string { return r.name(name, rpc.EndpointName) }

func (r *remote) subscription(name string) string { return r.name(name, rpc.SubscriptionName) }

func (r *remote) job(name string) string { return r.name(name, rpc.PushJobName) }

func (r *remote) name(name string, of func(tenant, id string) string) string {
	if name == "" || strings.Contains(name, "/") {
		return name
	}
	return of(r.Tenant, name)
}

// waybillName reads "CARRIER/NUMBER", and what the API calls a waybill; nothing
// stays nothing.
func waybillName(text string) (string, error) {
	text = strings.TrimPrefix(text, "waybills/")
	if text == "" {
		return "", nil
	}
	carrier, number, ok := strings.Cut(text, "/")
	if !ok {
		return "", fmt.Errorf("waybill %q isn't of the form CARRIER/NUMBER", text)
	}
	return rpc.WaybillName(carrier, number), nil
}

// all walks the pages of a list until most are seen, or the end when most is 0.
func all[M any](most int, page func(token string) (items []M, next string, err error), each func(M) error) error {
	token := ""
	for seen := 0; ; {
		items, next, err := page(token)
		if err != nil {
			return err
		}
		for _, m := range items {
			if err := each(m); err != nil {
				return err
			}
			if seen++; seen == most {
				return nil
			}
		}
		if next == "" {
			return nil
		}
		token = next
	}
}

// listing prints things as rows of a table, or as lines of JSON.
type listing struct {
	json  bool
	out   io.Writer
	table *tabwriter.Writer
}

func (c *connection) list(head ...string) *listing {
	l := &listing{json: c.JSON, out: c.out, table: tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)}
	if !l.json {
		l.write(head)
	}
	return l
}

func (l *listing) write(cells []string) {
	for i, cell := range cells {
		if cell == "" {
			cells[i] = "-"
		}
	}
	_, _ = fmt.Fprintln(l.table, strings.Join(cells, "\t")) // Flush tells
}

// add prints one thing. The cells are as many as the head has.
func (l *listing) add(m proto.Message, cells ...string) error {
	if l.json {
		return printMessage(l.out, m)
	}
	l.write(cells)
	return nil
}

func (l *listing) end(err error) error {
	if flushed := l.table.Flush(); err == nil {
		return flushed
	}
	return err
}

// printMessage prints a message as one line of JSON.
func printMessage(w io.Writer, m proto.Message) error {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	var line bytes.Buffer
	if err := json.Compact(&line, text); err != nil { // whatever protojson does
		return fmt.Errorf("write the answer: %w", err)
	}
	line.WriteByte('\n')
	_, err = w.Write(line.Bytes())
	return err
}

// show prints one thing: its fields, one a line, or JSON. Pairs are a field and its
// text; those without text are left out.
func (c *connection) show(m proto.Message, pairs ...string) error {
	if c.JSON {
		return printMessage(c.out, m)
	}
	t := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			_, _ = fmt.Fprintf(t, "%s\t%s\n", pairs[i], pairs[i+1])
		}
	}
	return t.Flush()
}

// lastPart is the id in a name.
func lastPart(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// word is the part of an enum's value that says something, in small letters.
func word(value, prefix string) string { return strings.ToLower(strings.TrimPrefix(value, prefix)) }

func when(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().Format(time.RFC3339)
}

func long(d *durationpb.Duration) string {
	if d == nil {
		return ""
	}
	return d.AsDuration().String()
}

// between bounds a time. It takes times of RFC 3339, and how long ago.
type between struct {
	From  string `env:"-" placeholder:"TIME" help:"From this time on: 2026-01-31T15:04:05Z, or how long ago, such as 24h."`
	Until string `env:"-" placeholder:"TIME" help:"Before this time."`
}

func (b between) read() (from, until *timestamppb.Timestamp, err error) {
	if from, err = pointInTime("--from", b.From); err != nil {
		return nil, nil, err
	}
	until, err = pointInTime("--until", b.Until)
	return from, until, err
}

func pointInTime(flag, text string) (*timestamppb.Timestamp, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // absent
	}
	if ago, err := time.ParseDuration(text); err == nil {
		return timestamppb.New(time.Now().Add(-ago)), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return nil, fmt.Errorf("%s: %q is neither a time such as 2026-01-31T15:04:05Z nor how long ago, such as 24h", flag, text)
	}
	return timestamppb.New(t), nil
}

// number is how a table shows one.
func number[N int32 | int64 | uint64](n N) string { return fmt.Sprint(n) }
