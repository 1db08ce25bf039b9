// Package look asks everybody who knows how things stand at the end of a run:
// the API, PostgreSQL and the streams.
package look

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/pkg/trace"
	"github.com/posthaste/posthaste/services/ledger/receiver"
	"github.com/posthaste/posthaste/services/ledger/record"
)

// The streams, as a direct subscriber knows them.
const (
	streamRaw   = "POSTHASTE_RAW"
	streamTrace = "POSTHASTE_TRACE"
	streamPush  = "POSTHASTE_PUSH"
)

// Looker asks. Close it.
type Looker struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	database func() (string, error)
	control  func(tenant string) *client.Client
	plan     []record.Endpoint
}

// Open connects to NATS, for as long as the run lasts.
func Open(url string, database func() (string, error), control func(tenant string) *client.Client, endpoints []record.Endpoint) (*Looker, error) {
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(200*time.Millisecond), nats.RetryOnFailedConnect(true), nats.Name("ledger"))
	if err != nil {
		return nil, fmt.Errorf("look at NATS: %w", err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("look at NATS: %w", err)
	}
	return &Looker{nc: nc, js: js, database: database, control: control, plan: endpoints}, nil
}

// JetStream is the ledger's own connection.
func (l *Looker) JetStream() jetstream.JetStream { return l.js }

// Close ends the connection.
func (l *Looker) Close() { l.nc.Close() }

// Settled says what isn't at rest, empty when all is.
func (l *Looker) Settled(ctx context.Context) (string, error) {
	f, err := l.Final(ctx, "", false)
	if err != nil {
		return "", err
	}
	waybills := make(map[string]*record.Waybill)
	for i := range f.Waybills {
		w := &f.Waybills[i]
		waybills[w.Waybill] = w
		if w.Stream != nil && (w.SQL == nil || w.SQL.Revision != w.Stream.Revision) {
			return w.Waybill + " isn't projected yet", nil
		}
	}
	var behind []string
	for i := range f.Subscriptions {
		s := &f.Subscriptions[i]
		if s.State != "active" || settled(s, waybills[s.Waybill]) {
			continue
		}
		behind = append(behind, fmt.Sprintf("%s of %s at endpoint %d: acknowledged %d, pushed %d", s.ID, s.Waybill, s.Endpoint, s.Acknowledged, s.Pushed))
	}
	if len(behind) > 0 {
		return fmt.Sprintf("%d subscriptions: %s", len(behind), strings.Join(behind[:min(len(behind), 5)], "; ")), nil
	}
	return l.unprocessed(ctx)
}

func settled(s *record.Subscription, w *record.Waybill) bool {
	if w == nil || w.Stream == nil {
		return true
	}
	if s.Pushed != w.Stream.Revision {
		return false
	}
	if s.Acknowledged == w.Stream.Revision {
		return true
	}
	pending := slices.ContainsFunc(s.Pushes, func(p record.OwedPush) bool { return p.State == "pending" })
	parked := slices.ContainsFunc(s.Pushes, func(p record.OwedPush) bool { return p.State == "parked" })
	return parked && !pending
}

// unprocessed says which stream has messages that weren't worked on.
func (l *Looker) unprocessed(ctx context.Context) (string, error) {
	for _, name := range []string{streamRaw, streamTrace, streamPush} {
		s, err := l.js.Stream(ctx, name)
		if err != nil {
			return "", fmt.Errorf("look at stream %s: %w", name, err)
		}
		list := s.ListConsumers(ctx)
		for info := range list.Info() {
			if info.Config.Durable != "" && info.Config.AckPolicy != jetstream.AckNonePolicy && info.NumPending+uint64(info.NumAckPending) > 0 {
				return fmt.Sprintf("%s has %d messages to hand out and %d to acknowledge", info.Name, info.NumPending, info.NumAckPending), nil
			}
		}
		if err := list.Err(); err != nil {
			return "", fmt.Errorf("look at stream %s: %w", name, err)
		}
	}
	return "", nil
}

// Final asks for everything; without detail, only for what says whether all is
// at rest.
func (l *Looker) Final(ctx context.Context, phase string, detail bool) (*record.Final, error) {
	f := &record.Final{Phase: phase}
	states := make(map[string]*record.Waybill)
	if err := l.stream(ctx, streamTrace, func(m jetstream.Msg) error { return traceState(m, states) }); err != nil {
		return nil, err
	}
	conn, err := l.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := projected(ctx, conn, states, detail); err != nil {
		return nil, err
	}
	if f.OwedRows, err = owedRows(ctx, conn); err != nil {
		return nil, err
	}
	if err := l.subscriptions(ctx, f); err != nil {
		return nil, err
	}
	if detail {
		if err := errors.Join(l.waybills(ctx, states), l.streams(ctx, f)); err != nil {
			return nil, err
		}
	}
	for _, w := range states {
		f.Waybills = append(f.Waybills, *w)
	}
	slices.SortFunc(f.Waybills, func(a, b record.Waybill) int { return strings.Compare(a.Waybill, b.Waybill) })
	return f, nil
}

func of(states map[string]*record.Waybill, name string) *record.Waybill {
	w := states[name]
	if w == nil {
		w = &record.Waybill{Waybill: name}
		states[name] = w
	}
	return w
}

func stateOf(w trace.Waybill, events []trace.Event) *record.State {
	s := &record.State{Revision: w.Revision, Status: w.Status.String(), EventCount: w.EventCount}
	for i := range events {
		s.Tokens = append(s.Tokens, receiver.Token.FindAllString(events[i].Text, -1)...)
	}
	if len(events) > 0 {
		s.LastTime = events[len(events)-1].Time.Instant.UTC().Format(time.RFC3339Nano)
	}
	return s
}

func traceState(m jetstream.Msg, states map[string]*record.Waybill) error {
	carrier, number, err := subject.ParseTrace(m.Subject())
	if err != nil {
		return err
	}
	var u trackingv1.TraceUpdate
	if err := proto.Unmarshal(m.Data(), &u); err != nil {
		return fmt.Errorf("read the trace of %s: %w", m.Subject(), err)
	}
	of(states, carrier+"/"+number).Stream = stateOf(trace.FromWaybill(u.GetWaybill()), trace.FromEvents(u.GetEvents()))
	return nil
}

// stream reads a whole stream.
func (l *Looker) stream(ctx context.Context, name string, each func(jetstream.Msg) error) error {
	s, err := l.js.Stream(ctx, name)
	if err != nil {
		return fmt.Errorf("look at stream %s: %w", name, err)
	}
	state := s.CachedInfo().State
	if state.Msgs == 0 {
		return nil
	}
	c, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
	if err != nil {
		return fmt.Errorf("look at stream %s: %w", name, err)
	}
	msgs, err := c.Messages(jetstream.PullMaxMessages(500))
	if err != nil {
		return fmt.Errorf("look at stream %s: %w", name, err)
	}
	defer msgs.Stop()
	for {
		m, err := msgs.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("look at stream %s: %w", name, err)
		}
		if err := each(m); err != nil {
			return err
		}
		md, err := m.Metadata()
		if err != nil {
			return err
		}
		if md.NumPending == 0 || md.Sequence.Stream >= state.LastSeq {
			return nil
		}
	}
}

func (l *Looker) connect(ctx context.Context) (*pgx.Conn, error) {
	url, err := l.database()
	if err != nil {
		return nil, err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("look at PostgreSQL: %w", err)
	}
	return conn, nil
}

// projected reads the projection as any reader of the tables could.
func projected(ctx context.Context, conn *pgx.Conn, states map[string]*record.Waybill, detail bool) error {
	rows, err := conn.Query(ctx, `SELECT carrier_code || '/' || waybill_number, state FROM waybill`)
	if err != nil {
		return fmt.Errorf("look at the projection: %w", err)
	}
	var name string
	var body []byte
	states2 := make(map[string]trace.Waybill)
	_, err = pgx.ForEachRow(rows, []any{&name, &body}, func() error {
		var w trackingv1.Waybill
		if err := proto.Unmarshal(body, &w); err != nil {
			return err
		}
		states2[name] = trace.FromWaybill(&w)
		return nil
	})
	if err != nil {
		return fmt.Errorf("look at the projection: %w", err)
	}
	events := make(map[string][]trace.Event)
	if detail {
		rows, err := conn.Query(ctx, `SELECT carrier_code || '/' || waybill_number, body FROM trace_event`)
		if err != nil {
			return fmt.Errorf("look at projected events: %w", err)
		}
		_, err = pgx.ForEachRow(rows, []any{&name, &body}, func() error {
			var e trackingv1.TraceEvent
			if err := proto.Unmarshal(body, &e); err != nil {
				return err
			}
			events[name] = append(events[name], trace.FromEvent(&e))
			return nil
		})
		if err != nil {
			return fmt.Errorf("look at projected events: %w", err)
		}
	}
	for name, w := range states2 {
		slices.SortFunc(events[name], func(a, b trace.Event) int { return a.Time.Instant.Compare(b.Time.Instant) })
		of(states, name).SQL = stateOf(w, events[name])
	}
	return nil
}

func owedRows(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	rows, err := conn.Query(ctx, `SELECT subscription_id FROM owed_push ORDER BY 1`)
	if err != nil {
		return nil, fmt.Errorf("look at what is owed: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("look at what is owed: %w", err)
	}
	return ids, nil
}

// subscriptions asks the API how every subscription stands.
func (l *Looker) subscriptions(ctx context.Context, f *record.Final) error {
	index := make(map[string]int)
	tenants := make(map[string]bool)
	for _, e := range l.plan {
		index[e.ID] = e.Index
		tenants[e.Tenant] = true
	}
	for tenant := range tenants {
		c := l.control(tenant)
		for e, err := range c.Endpoints(ctx) {
			if err != nil {
				return err
			}
			if e.State == client.EndpointDisabled {
				f.Disabled = append(f.Disabled, index[e.ID()])
			}
		}
		for s, err := range c.Subscriptions(ctx, client.SubscriptionFilter{}) {
			if err != nil {
				return err
			}
			end := record.Subscription{
				ID: s.ID(), Endpoint: index[s.Endpoint[strings.LastIndexByte(s.Endpoint, '/')+1:]], Waybill: s.Waybill.String(),
				State: string(s.State), Pushed: s.PushedRevision, Acknowledged: s.AcknowledgedRevision,
			}
			if s.AcknowledgedRevision < s.PushedRevision && s.State != client.SubscriptionCancelled {
				for p, err := range c.Pushes(ctx, s.Name) {
					if err != nil {
						return err
					}
					if p.State != client.PushAcknowledged {
						end.Pushes = append(end.Pushes, record.OwedPush{ID: p.ID, State: string(p.State), After: p.AfterRevision, Revision: p.Revision, Reason: p.ParkReason})
					}
				}
			}
			f.Subscriptions = append(f.Subscriptions, end)
		}
	}
	slices.SortFunc(f.Subscriptions, func(a, b record.Subscription) int { return strings.Compare(a.ID, b.ID) })
	return nil
}

// waybills asks the API what it knows of every waybill.
func (l *Looker) waybills(ctx context.Context, states map[string]*record.Waybill) error {
	c := l.control(l.plan[0].Tenant)
	var ids []trace.ID
	for name := range states {
		carrier, number, _ := strings.Cut(name, "/")
		ids = append(ids, trace.ID{CarrierCode: carrier, WaybillNumber: number})
	}
	found, err := c.GetWaybills(ctx, ids)
	if err != nil {
		return err
	}
	for id, w := range found {
		var events []trace.Event
		for e, err := range c.TraceEvents(ctx, id, 0) {
			if err != nil {
				return err
			}
			events = append(events, e)
		}
		of(states, id.String()).GRPC = stateOf(w, events)
	}
	return nil
}

// streams looks at what is in RAW, who reads the streams, and what is left in
// PUSH.
func (l *Looker) streams(ctx context.Context, f *record.Final) error {
	raw := make(map[string]bool)
	err := l.stream(ctx, streamRaw, func(m jetstream.Msg) error {
		for _, t := range receiver.Token.FindAll(m.Data(), -1) {
			raw[string(t)] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	for t := range raw {
		f.Raw = append(f.Raw, t)
	}
	slices.Sort(f.Raw)
	for _, name := range []string{streamRaw, streamTrace, streamPush} {
		s, err := l.js.Stream(ctx, name)
		if err != nil {
			return fmt.Errorf("look at stream %s: %w", name, err)
		}
		if name == streamPush {
			f.PushMessages = s.CachedInfo().State.Msgs
		}
		list := s.ListConsumers(ctx)
		for info := range list.Info() {
			if info.Config.Durable != "" && !strings.HasPrefix(info.Config.Durable, "oc_") {
				f.Consumers = append(f.Consumers, info.Name)
			}
		}
		if err := list.Err(); err != nil {
			return fmt.Errorf("look at stream %s: %w", name, err)
		}
	}
	return nil
}

// Backends counts the connections of PostgreSQL, ours left out.
func (l *Looker) Backends(ctx context.Context) (n int, err error) {
	conn, err := l.connect(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	err = conn.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`).Scan(&n)
	return n, err
}

// Streams are the bytes of the streams.
func (l *Looker) Streams(ctx context.Context) map[string]uint64 {
	sizes := make(map[string]uint64)
	for _, name := range []string{streamRaw, streamTrace, streamPush} {
		if s, err := l.js.Stream(ctx, name); err == nil {
			sizes[name] = s.CachedInfo().State.Bytes
		}
	}
	return sizes
}
