package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	deliveryv1 "github.com/posthaste/posthaste/pkg/api/posthaste/delivery/v1"
	privacyv1 "github.com/posthaste/posthaste/pkg/api/posthaste/privacy/v1"
	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	tenantv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// remote is what the commands have in common that ask for what is a tenant's.
type remote struct {
	connectFlags `embed:""`

	Tenant string `default:"default" env:"POSTHASTE_TENANT" help:"Whose endpoints, subscriptions and pushes."`
}

// connection is a remote that was dialled.
type connection struct {
	*remote

	out           io.Writer
	endpoints     subscriptionv1.EndpointServiceClient
	subscriptions subscriptionv1.SubscriptionServiceClient
	waybills      trackingv1.WaybillServiceClient
	pushes        deliveryv1.PushServiceClient
	erasures      privacyv1.ErasureServiceClient
	feeds         tenantv1.FeedServiceClient
}

// with dials and works; see call.
func (r *remote) with(work func(ctx context.Context, c *connection) error) error {
	return r.call(func(ctx context.Context, c *client.Client) error {
		conn := c.Conn()
		return work(ctx, &connection{
			remote: r, out: os.Stdout,
			endpoints: subscriptionv1.NewEndpointServiceClient(conn), subscriptions: subscriptionv1.NewSubscriptionServiceClient(conn),
			waybills: trackingv1.NewWaybillServiceClient(conn), pushes: deliveryv1.NewPushServiceClient(conn),
			erasures: privacyv1.NewErasureServiceClient(conn), feeds: tenantv1.NewFeedServiceClient(conn),
		})
	})
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
	l := &listing{json: c.inJSON(), out: c.out, table: tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)}
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
	if c.inJSON() {
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
