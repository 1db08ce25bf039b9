package attacks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	ingestv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	privacyv1 "github.com/posthaste/posthaste/pkg/api/posthaste/privacy/v1"
	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	tenantv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tenant/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/stream"
)

// What a trace says of somebody, and the text that says it.
var personal = []string{"张三丰", "13812345678", "8-2-4043"}

const personalText = "快件已由 张三丰 签收，电话 13812345678，取件码 8-2-4043"

// erasing is a product that doesn't wait long for what was under way.
func (w *World) erasing(ctx context.Context) (*product, error) {
	if p, ok := w.products["erasing"]; ok {
		return p, nil
	}
	p, err := w.start(ctx, "erasing", "--egress-policy=lab", "--erase-flight=3s")
	if err == nil {
		w.products["erasing"] = p
	}
	return p, err
}

// erase has a waybill's personal data spread to wherever the product keeps it,
// erases it, tries to bring it back, and looks for it everywhere.
func (o *Outcome) erase(ctx context.Context, w *World) error {
	p, err := w.erasing(ctx)
	if err != nil {
		return err
	}
	var erased atomic.Bool // the receiver erases too
	w.receiver.respond(func(rw http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "refuses") {
			rw.WriteHeader(http.StatusInternalServerError)
			if !erased.Load() {
				_, _ = io.WriteString(rw, personalText)
			}
		}
	})
	const carrier = "sf"
	number := strings.ToUpper(w.fresh("ERASE"))
	var subs []string
	for _, path := range []string{"/takes", "/refuses"} {
		made, err := p.endpointTo(ctx, w, path, nil)
		if err != nil {
			return err
		}
		defer p.forget(context.WithoutCancel(ctx), made.GetEndpoint().GetName())
		sub, err := p.subscribeTo(ctx, made.GetEndpoint().GetName(), carrier, number)
		if err != nil {
			return err
		}
		subs = append(subs, sub)
	}
	told := &ingestv1.ReportedEvent{
		CarrierCode: carrier, WaybillNumber: number, EventId: "1", EventTime: time.Now().Format(time.RFC3339), Status: trackingv1.Status_STATUS_DELIVERED,
		Text: personalText, Signer: personal[0], Courier: &trackingv1.Person{Name: personal[0], Phone: personal[1]},
	}
	report := func(e *ingestv1.ReportedEvent) error {
		_, err := p.reports.ReportEvents(ctx, &ingestv1.ReportEventsRequest{Events: []*ingestv1.ReportedEvent{e}})
		return err
	}
	if err := report(told); err != nil {
		return err
	}
	// A dead letter.
	bad := event(number)
	bad["description"] = personalText
	body := append(encode(bad), " {}"...)
	if _, err := p.do(ctx, push(carrier, typeJSON, body)); err != nil {
		return err
	}
	for _, sub := range subs {
		if err := await(ctx, "an attempt", func() (bool, error) {
			list, err := p.attempts(ctx, sub)
			return len(list) > 0, err
		}); err != nil {
			return err
		}
	}
	if err := o.spread(ctx, p); err != nil {
		return err
	}

	erased.Store(true)
	name := "waybills/" + carrier + "/" + number
	erasures := privacyv1.NewErasureServiceClient(p.conn)
	asked, err := erasures.EraseWaybill(ctx, &privacyv1.EraseWaybillRequest{Name: name})
	if err != nil {
		return err
	}
	done := func() error {
		return await(ctx, "the erasure", func() (bool, error) {
			got, err := erasures.GetErasure(ctx, &privacyv1.GetErasureRequest{Name: asked.GetErasure().GetName()})
			return got.GetErasure().GetState() == privacyv1.ErasureState_ERASURE_STATE_DONE, err
		})
	}
	if err := done(); err != nil {
		return err
	}
	// The carrier tells it again, and another source in other words.
	again := &ingestv1.ReportedEvent{
		CarrierCode: carrier, WaybillNumber: number, EventId: "2", EventTime: told.GetEventTime(), Status: trackingv1.Status_STATUS_DELIVERED, Text: "代签 " + personalText,
	}
	for _, e := range []*ingestv1.ReportedEvent{told, again} {
		if err := report(e); err != nil {
			return err
		}
	}
	events, err := p.awaitTrace(ctx, carrier, number, 2)
	if err != nil {
		return err
	}
	left, err := p.inDatabase(ctx, personal...)
	if err != nil {
		return err
	}
	more, err := p.inStreams(ctx, personal...)
	if err != nil {
		return err
	}
	left = append(left, more...)
	if text := fmt.Sprint(events); containsAny(text, personal) {
		left = append(left, "the trace is answered with it")
	}
	raw := asked.GetErasure().GetRawGoneTime().AsTime().Sub(asked.GetErasure().GetRequestTime().AsTime())
	if raw <= 0 {
		left = append(left, "it isn't said when raw traces are gone")
	}
	o.holds("gone|erase|table|stream|cache|dead letter|removed|delet", len(left) == 0, "%q", left)
	// The chain of revisions goes on.
	state, err := p.waybills.GetWaybill(ctx, &trackingv1.GetWaybillRequest{Name: name})
	if err != nil {
		return err
	}
	if state.GetWaybill().GetStatus() != trackingv1.Status_STATUS_DELIVERED || state.GetWaybill().GetEraseTime() == nil || state.GetWaybill().GetRevision() < 2 {
		o.problem("erased, the waybill is %v", state.GetWaybill())
	}
	// The audit log has one line of it.
	log, err := tenantv1.NewAuditServiceClient(p.conn).ListAuditEvents(ctx, &tenantv1.ListAuditEventsRequest{Parent: "platform", Resource: name})
	if err != nil {
		return err
	}
	ok := len(log.GetEvents()) == 1 && !containsAny(fmt.Sprint(log.GetEvents()), personal)
	o.holds("audit", ok, "it has %v", log.GetEvents())
	return nil
}

func containsAny(text string, words []string) bool {
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

// spread looks whether the data is where the product keeps it: an erasure that finds
// nothing proves nothing.
func (o *Outcome) spread(ctx context.Context, p *product) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	seen := ""
	err := await(ctx, "personal data in tables and streams", func() (bool, error) {
		tables, err := p.inDatabase(ctx, personal...)
		if err != nil {
			return false, err
		}
		streams, err := p.inStreams(ctx, personal...)
		seen = fmt.Sprint(tables, streams)
		return containsAll(seen, "table trace_event", "table waybill", "table attempt", "table owed_push", stream.Trace, stream.Rejected), err
	})
	if err != nil {
		err = fmt.Errorf("%w; seen was only %s", err, seen)
	}
	return err
}

func containsAll(text string, words ...string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// age lets a trace become too old, by a product whose retention is short.
func (o *Outcome) age(ctx context.Context, w *World) error {
	p, ok := w.products["aged"]
	if !ok {
		var err error
		if p, err = w.start(ctx, "aged", "--egress-policy=lab", "--retention-traces=2s", "--retention-every=200ms"); err != nil {
			return err
		}
		w.products["aged"] = p
	}
	w.receiver.respond(nil)
	made, err := p.endpointTo(ctx, w, "/aged", nil)
	if err != nil {
		return err
	}
	defer p.forget(context.WithoutCancel(ctx), made.GetEndpoint().GetName())
	number := w.fresh("AGED")
	sub, err := p.subscribeTo(ctx, made.GetEndpoint().GetName(), "ups", number)
	if err != nil {
		return err
	}
	if err := p.reportTo(ctx, "ups", number, personalText); err != nil {
		return err
	}
	if _, err := w.receiver.await(ctx, 1); err != nil {
		return err
	}
	var events []*trackingv1.TraceEvent
	gone := await(ctx, "the text to be gone", func() (bool, error) {
		if events, err = p.awaitTrace(ctx, "ups", number, 1); err != nil || events[0].GetText() != "" {
			return false, err
		}
		left, err := p.inDatabase(ctx, personal...)
		more, bad := p.inStreams(ctx, personal...)
		return len(left)+len(more) == 0, errors.Join(err, bad)
	})
	o.check("gone|text|removed|delet|erase", gone)
	state, err := p.waybills.GetWaybill(ctx, &trackingv1.GetWaybillRequest{Name: "waybills/ups/" + number})
	if err != nil {
		return err
	}
	attempts, err := p.attempts(ctx, sub)
	if err != nil {
		return err
	}
	wb := state.GetWaybill()
	kept := len(events) == 1 && events[0].GetStatus() == trackingv1.Status_STATUS_IN_TRANSIT && events[0].GetTime() != nil && wb.GetEventCount() == 1 && len(wb.GetMilestones()) == 1 && len(attempts) > 0
	o.holds("statistic|kept|count|status", kept, "what is left is %v, %v and %d attempts", wb, events, len(attempts))
	return nil
}

// quota makes subscriptions at once up to a quota and beyond.
func (o *Outcome) quota(ctx context.Context, w *World, words string) error {
	l, err := w.locked(ctx)
	if err != nil {
		return err
	}
	parallel, ok := parseCount(words)
	if !ok || parallel > 500 {
		parallel = 50
	}
	const quota, before = 10, 9
	id := strings.ToLower(w.fresh("quota"))
	parent := "tenants/" + id
	admin := as(ctx, l.admin)
	if _, err := l.tenants.CreateTenant(admin, &tenantv1.CreateTenantRequest{TenantId: id}); err != nil {
		return err
	}
	made, err := l.endpoints.CreateEndpoint(admin, &subscriptionv1.CreateEndpointRequest{Parent: parent, Endpoint: &subscriptionv1.Endpoint{Url: "http://127.0.0.1:" + w.receiver.port() + "/quota"}})
	if err != nil {
		return err
	}
	w.own = append(w.own, made.GetEndpoint().GetSecret())
	one := func() *subscriptionv1.Subscription {
		return &subscriptionv1.Subscription{Endpoint: made.GetEndpoint().GetName(), CarrierCode: "ups", WaybillNumber: w.fresh("QUOTA")}
	}
	for i := range before {
		if i == before/2 { // what was there before the quota counts
			if _, err := l.tenants.UpdateTenant(admin, &tenantv1.UpdateTenantRequest{Tenant: &tenantv1.Tenant{Name: parent, Quota: &tenantv1.Quota{ActiveSubscriptions: quota}}}); err != nil {
				return err
			}
		}
		if _, err := l.subs.CreateSubscription(admin, &subscriptionv1.CreateSubscriptionRequest{Parent: parent, Subscription: one()}); err != nil {
			return err
		}
	}
	begin, results := make(chan struct{}), make(chan int, parallel)
	for i := range parallel {
		single, several := one(), []*subscriptionv1.Subscription{one(), one()}
		go func() {
			<-begin
			if i%5 == 4 {
				b := &subscriptionv1.BatchCreateSubscriptionsRequest{Parent: parent}
				for _, s := range several {
					b.Requests = append(b.Requests, &subscriptionv1.CreateSubscriptionRequest{Parent: parent, Subscription: s})
				}
				resp, err := l.subs.BatchCreateSubscriptions(admin, b)
				n := 0
				for _, r := range resp.GetResults() {
					if err == nil && r.GetSubscription() != nil {
						n++
					}
				}
				results <- n
				return
			}
			if _, err := l.subs.CreateSubscription(admin, &subscriptionv1.CreateSubscriptionRequest{Parent: parent, Subscription: single}); err == nil {
				results <- 1
			} else {
				results <- 0
			}
		}()
	}
	close(begin)
	more := 0
	for range parallel {
		more += <-results
	}
	listed, err := l.subs.ListSubscriptions(admin, &subscriptionv1.ListSubscriptionsRequest{Parent: parent, PageSize: 1000})
	if err != nil {
		return err
	}
	stored := len(listed.GetSubscriptions())
	o.Detail = fmt.Sprintf("%d of %d were made, %d are stored, the quota is %d", more, parallel, stored, quota)
	o.holds("never more|quota|at most|exact", stored == quota && before+more == quota, "%s", o.Detail)
	return nil
}
