package subscription

import (
	"context"
	"log/slog"
	"maps"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	"github.com/posthaste/posthaste/services/internal/id"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pause"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/recognize"
	"github.com/posthaste/posthaste/services/internal/track"
)

// autoCarrier asks for the carrier to be recognised from the number, as does
// none.
const autoCarrier = "auto"

// maxCandidates are the carriers a subscription may be corrected to.
const maxCandidates = 8

// numbers is what is known of waybill numbers.
type numbers interface {
	Answers(ctx context.Context, numbers ...string) (map[recognize.Shape][]recognize.Answer, error)
	Known(ctx context.Context, waybills []track.Waybill) (map[track.Waybill]bool, error)
}

func unnamed(code string) bool {
	code = strings.TrimSpace(code)
	return code == "" || strings.EqualFold(code, autoCarrier)
}

// recognition recognises the carriers of the requests of one call.
type recognition struct {
	candidates map[string][]recognize.Candidate
	known      map[track.Waybill]bool
}

// recognize looks at the numbers of requests without a carrier, or whose carrier
// is to be checked; for all of them in two queries.
func (c *ControlConfig) recognize(ctx context.Context, requests ...*subscriptionv1.CreateSubscriptionRequest) (*recognition, error) {
	var wanted []string
	for _, r := range requests {
		if m := r.GetSubscription(); unnamed(m.GetCarrierCode()) || r.GetAutoCheck() {
			wanted = append(wanted, m.GetWaybillNumber())
		}
	}
	out := &recognition{candidates: make(map[string][]recognize.Candidate, len(wanted))}
	if len(wanted) == 0 {
		return out, nil
	}
	answers, err := c.Numbers.Answers(ctx, wanted...)
	if err != nil {
		return nil, c.fault(ctx, err)
	}
	var waybills []track.Waybill
	for _, text := range wanted {
		number, err := track.NormalNumber(text)
		if err != nil {
			continue // it is refused
		}
		list := recognize.Candidates(text, recognize.Hints{Answers: answers})
		out.candidates[text] = list[:min(len(list), maxCandidates)]
		for _, candidate := range out.candidates[text] {
			waybills = append(waybills, track.Waybill{Carrier: candidate.Carrier, Number: number})
		}
	}
	if out.known, err = c.Numbers.Known(ctx, waybills); err != nil {
		return nil, c.fault(ctx, err)
	}
	return out, nil
}

// carrier gives a subscription the likeliest carrier, or the one that has told
// something already, and notes the others.
func (r *recognition) carrier(v *violations, n *pg.NewSubscription, req *subscriptionv1.CreateSubscriptionRequest) {
	m := req.GetSubscription()
	given := !unnamed(m.GetCarrierCode())
	if given {
		var err error
		if n.Waybill.Carrier, err = track.NormalCarrier(m.GetCarrierCode()); err != nil {
			v.add("subscription.carrier_code", err.Error())
		}
		if !req.GetAutoCheck() {
			return
		}
	}
	candidates := r.candidates[m.GetWaybillNumber()]
	if !given {
		if len(candidates) == 0 {
			v.add("subscription.carrier_code", "can't be told from the number: it has no form that is known, or a wrong check digit; give the carrier")
			return
		}
		n.Waybill.Carrier = candidates[0].Carrier
		for _, c := range candidates {
			if r.known[track.Waybill{Carrier: c.Carrier, Number: n.Waybill.Number}] {
				n.Waybill.Carrier = c.Carrier
				break
			}
		}
		n.How = pg.CarrierRecognized
	}
	n.Candidates = []track.Carrier{}
	for _, c := range candidates {
		if c.Carrier != n.Waybill.Carrier {
			n.Candidates = append(n.Candidates, c.Carrier)
		}
	}
}

// CorrectorConfig is what the corrector needs.
type CorrectorConfig struct {
	Checks interface {
		Check(ctx context.Context, now time.Time, limit int, newID func() string) (pg.Checked, error)
	}
	// Sweep is how often it is looked whether carriers are due; 0 means 3 s.
	Sweep time.Duration
	Log   *slog.Logger
	Meter metric.MeterProvider
	Now   func() time.Time
}

// Corrector looks whether the carriers of subscriptions are right that were
// recognised and not given.
type Corrector struct {
	cfg     CorrectorConfig
	checked metric.Int64Counter
}

// NewCorrector makes a corrector; [Corrector.Run] works.
func NewCorrector(cfg CorrectorConfig) (*Corrector, error) {
	if cfg.Sweep == 0 {
		cfg.Sweep = 3 * time.Second
	}
	c := &Corrector{cfg: cfg}
	var err error
	c.checked, err = cfg.Meter.Meter("github.com/posthaste/posthaste/services/subscription").Int64Counter("posthaste_subscription_carriers_checked",
		metric.WithDescription("Carriers of subscriptions that were looked at, by outcome: proven, corrected, waiting, ended."))
	return c, err
}

// checkPage is how many carriers are looked at in one transaction.
const checkPage = 500

// Run looks until the context ends. Several instances may.
func (c *Corrector) Run(ctx context.Context) error {
	for {
		now := c.cfg.Now()
		done, err := c.cfg.Checks.Check(ctx, now, checkPage, func() string { return id.New("sub_", now) })
		if err != nil && ctx.Err() == nil {
			c.cfg.Log.WarnContext(ctx, "carriers of subscriptions can't be checked; it is tried again", obs.KeyError, err)
		}
		for outcome, n := range map[string]int{"proven": done.Proven, "corrected": done.Corrected, "waiting": done.Waiting, "ended": done.Ended} {
			if n > 0 {
				c.checked.Add(ctx, int64(n), metric.WithAttributes(attribute.String("outcome", outcome)))
			}
		}
		if done.Total() == checkPage {
			continue
		}
		if err := pause.For(ctx, c.cfg.Sweep); err != nil {
			return err
		}
	}
}

// checkReserved refuses what only Posthaste sets, unless it is as it was.
func checkReserved(v *violations, field string, metadata, before map[string]string) {
	for key, value := range metadata {
		if old, ok := before[key]; strings.HasPrefix(key, pg.ReservedMetadata) && (!ok || old != value) {
			v.add(field, "keys that begin with "+pg.ReservedMetadata+" are set by Posthaste")
			return
		}
	}
}

// withReserved is an owner's metadata with what Posthaste set before.
func withReserved(metadata, before map[string]string) map[string]string {
	all := maps.Clone(metadata)
	for key, value := range before {
		if strings.HasPrefix(key, pg.ReservedMetadata) {
			if all == nil {
				all = make(map[string]string)
			}
			all[key] = value
		}
	}
	return all
}
