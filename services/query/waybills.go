package query

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/services/internal/auth"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/rpc"
	"github.com/posthaste/posthaste/services/internal/stream"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/internal/wire"
)

// The interfaces are what the service needs of its neighbours.
type (
	store interface {
		Traces(ctx context.Context, waybills []track.Waybill) (map[track.Waybill]*trackingv1.TraceUpdate, error)
		Pushes(ctx context.Context, of pg.Of, after *pg.PushKey, limit int) ([]pg.Push, error)
		Attempts(ctx context.Context, of pg.Of, f pg.AttemptFilter, after *pg.AttemptKey, limit int) ([]pg.Attempt, error)
		Subscribed(ctx context.Context, tenant string, waybills []track.Waybill) (map[track.Waybill]bool, error)
		KnowsSubscription(ctx context.Context, tenant, id string) (bool, error)
		KnowsEndpoint(ctx context.Context, tenant, id string) (bool, error)
	}
	// last reads the newest TRACE message of subjects.
	last func(ctx context.Context, subjects []string) (map[string]stream.Stored, error)
	// present reads the newest TRACE message of one subject and never an older one,
	// or returns [stream.ErrNotFound].
	present func(ctx context.Context, subject string) (stream.Stored, error)
	// tail follows the newest TRACE message of a subject.
	tail func(ctx context.Context, subject string) (<-chan stream.Stored, func(), error)
)

// Config is what the service needs.
type Config struct {
	Store   store
	Last    last
	Present present
	Tail    tail
	// Mask says whether what a tenant reads hides personal data; nil hides none.
	Mask func(tenant string) bool
	Log  *slog.Logger
	Now  func() time.Time
	// Heartbeat is how often a silent watch says that it is there; 0 means 15 s.
	Heartbeat time.Duration
}

// Waybills answers the WaybillService.
type Waybills struct {
	trackingv1.UnimplementedWaybillServiceServer
	cfg Config
}

// New makes the service.
func New(cfg Config) *Waybills {
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = 15 * time.Second
	}
	return &Waybills{cfg: cfg}
}

const (
	maxNames = 200
	// awayFor is when a caller may try again.
	awayFor = 2 * time.Second
)

// unavailable answers that a neighbour is away; why is for our log.
func (w *Waybills) unavailable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	w.cfg.Log.ErrorContext(ctx, "a query can't be answered", obs.KeyError, err)
	return rpc.Unavailable(awayFor)
}

// visible are those of some waybills that the caller may know of: a tenant, those
// it has subscribed. That it knows a number is no permission.
func (w *Waybills) visible(ctx context.Context, waybills []track.Waybill) ([]track.Waybill, error) {
	p := auth.CallOf(ctx).Principal
	if p.Tenant == "" {
		return waybills, nil
	}
	subscribed, err := w.cfg.Store.Subscribed(ctx, p.Tenant, waybills)
	if err != nil {
		return nil, w.unavailable(ctx, err)
	}
	return slices.DeleteFunc(slices.Clone(waybills), func(id track.Waybill) bool { return !subscribed[id] }), nil
}

// traces reads waybills' traces; unknown ones, and those that the caller mustn't
// know of, are absent.
func (w *Waybills) traces(ctx context.Context, waybills []track.Waybill) (map[track.Waybill]*trackingv1.TraceUpdate, error) {
	waybills, err := w.visible(ctx, waybills)
	if err != nil || len(waybills) == 0 {
		return nil, err
	}
	subjects := make([]string, len(waybills))
	for i, id := range waybills {
		subjects[i] = subject.Trace(string(id.Carrier), string(id.Number))
	}
	stored, err := w.cfg.Last(ctx, subjects)
	if err != nil {
		return nil, w.unavailable(ctx, err)
	}
	found := make(map[track.Waybill]*trackingv1.TraceUpdate, len(waybills))
	var missing []track.Waybill
	for i, id := range waybills {
		m, ok := stored[subjects[i]]
		if !ok {
			missing = append(missing, id)
			continue
		}
		u := &trackingv1.TraceUpdate{}
		if err := proto.Unmarshal(m.Data, u); err != nil {
			return nil, fmt.Errorf("read the trace at sequence %d: %w", m.Seq, err)
		}
		found[id] = w.shown(ctx, u)
	}
	if len(missing) == 0 {
		return found, nil
	}
	projected, err := w.cfg.Store.Traces(ctx, missing)
	if err != nil {
		return nil, w.unavailable(ctx, err)
	}
	for id, u := range projected {
		found[id] = w.shown(ctx, u)
	}
	return found, nil
}

func parse(field, name string) (track.Waybill, error) {
	c, n, err := rpc.ParseWaybillName(name)
	if err != nil {
		return track.Waybill{}, rpc.Invalid(field, err.Error())
	}
	number, err := track.NormalNumber(n)
	if err != nil {
		return track.Waybill{}, rpc.Invalid(field, "the waybill number "+err.Error())
	}
	return track.Waybill{Carrier: track.Carrier(c), Number: number}, nil
}

// one reads a waybill's trace, or says that there is none.
func (w *Waybills) one(ctx context.Context, field, name string) (*trackingv1.TraceUpdate, error) {
	id, err := parse(field, name)
	if err != nil {
		return nil, err
	}
	found, err := w.traces(ctx, []track.Waybill{id})
	if err != nil {
		return nil, err
	}
	if found[id] == nil {
		return nil, rpc.NotFound(name)
	}
	return found[id], nil
}

// GetWaybill returns one waybill's state.
func (w *Waybills) GetWaybill(ctx context.Context, req *trackingv1.GetWaybillRequest) (*trackingv1.GetWaybillResponse, error) {
	u, err := w.one(ctx, "name", req.GetName())
	if err != nil {
		return nil, err
	}
	return &trackingv1.GetWaybillResponse{Waybill: u.GetWaybill()}, nil
}

// BatchGetWaybills returns up to 200 waybills' states.
func (w *Waybills) BatchGetWaybills(ctx context.Context, req *trackingv1.BatchGetWaybillsRequest) (*trackingv1.BatchGetWaybillsResponse, error) {
	names := req.GetNames()
	if len(names) == 0 || len(names) > maxNames {
		return nil, rpc.Invalid("names", fmt.Sprintf("must be 1 to %d, and there are %d", maxNames, len(names)))
	}
	waybills := make([]track.Waybill, len(names))
	for i, name := range names {
		var err error
		if waybills[i], err = parse(fmt.Sprintf("names[%d]", i), name); err != nil {
			return nil, err
		}
	}
	found, err := w.traces(ctx, waybills)
	if err != nil {
		return nil, err
	}
	resp := &trackingv1.BatchGetWaybillsResponse{}
	for i, id := range waybills {
		if u := found[id]; u != nil {
			resp.Waybills = append(resp.Waybills, u.GetWaybill())
		} else {
			resp.UnknownNames = append(resp.UnknownNames, names[i])
		}
	}
	return resp, nil
}

// ListTraceEvents returns a waybill's trace in order. Of a trace that changes
// between two pages no event is shown twice, nor left out that was there; one that
// came late, at a place that was shown already, is found after the revision.
func (w *Waybills) ListTraceEvents(ctx context.Context, req *trackingv1.ListTraceEventsRequest) (*trackingv1.ListTraceEventsResponse, error) {
	size, err := rpc.PageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	filter := rpc.FilterHash("ListTraceEvents", req.GetParent(), strconv.FormatUint(req.GetAfterRevision(), 10))
	key, err := rpc.DecodePageToken(req.GetPageToken(), filter, placeParts)
	if err != nil {
		return nil, err
	}
	place, err := readPlace(key)
	if err != nil {
		return nil, err
	}
	u, err := w.one(ctx, "parent", req.GetParent())
	if err != nil {
		return nil, err
	}
	events := after(u.GetEvents(), req.GetAfterRevision())
	if key != nil {
		from, found := slices.BinarySearchFunc(events, place, func(m *trackingv1.TraceEvent, place track.Place) int {
			at, unreadable := placeOf(m)
			err = errors.Join(err, unreadable)
			return at.Compare(place)
		})
		if err != nil {
			return nil, err
		}
		if found {
			from++
		}
		events = events[from:]
	}
	resp := &trackingv1.ListTraceEventsResponse{Events: events[:min(size, len(events))]}
	if len(events) > size {
		last, err := placeOf(events[size-1])
		if err != nil {
			return nil, err
		}
		resp.NextPageToken = rpc.EncodePageToken(filter,
			strconv.FormatInt(last.Moment.Unix(), 10), strconv.Itoa(last.Moment.Nanosecond()), strconv.Itoa(last.Hint), strconv.Itoa(last.Rank), string(last.ID))
	}
	return resp, nil
}

func placeOf(m *trackingv1.TraceEvent) (track.Place, error) {
	e, err := wire.TrackEvent(m)
	return e.Place(), err
}

// placeParts is how many parts of a page token a place takes.
const placeParts = 5

// readPlace reads the place of the last event that was shown; nil for none.
func readPlace(key []string) (p track.Place, err error) {
	if key == nil {
		return p, nil
	}
	var n [placeParts - 1]int64
	for i := range n {
		if n[i], err = strconv.ParseInt(key[i], 10, 64); err != nil {
			return p, rpc.Invalid("page_token", "is damaged").WithReason(rpc.ReasonPageTokenInvalid)
		}
	}
	return track.Place{Moment: time.Unix(n[0], n[1]), Hint: int(n[2]), Rank: int(n[3]), ID: track.EventID(key[placeParts-1])}, nil
}

// after are the events that changed after a revision.
func after(events []*trackingv1.TraceEvent, revision uint64) []*trackingv1.TraceEvent {
	if revision == 0 {
		return events
	}
	var changed []*trackingv1.TraceEvent
	for _, e := range events {
		if e.GetRevision() > revision {
			changed = append(changed, e)
		}
	}
	return changed
}
