package demo

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/pkg/subject"
	"github.com/posthaste/posthaste/pkg/trace"
)

// whatNext prints commands that work as they stand.
func (s *show) whatNext(j journey) {
	own := trace.ID{CarrierCode: "ups", WaybillNumber: "OWN" + strconv.FormatInt(s.Now().Unix(), 10)}
	s.say(`
What to try now, in another terminal (make .bin/grpcurl .bin/nats builds the tools):

The last step of %s, as %s would push it. The callback shows here:
  %s

Where the parcel stands, over gRPC:
  %s

A parcel of your own: subscribe it to this callback, and report where it is:
  %s
  %s

The waybills on NATS, and all that change from now on:
  %s

Metrics:
  curl -sS http://%s/metrics | grep '^posthaste_'

Ctrl-C ends everything; the data stays.`,
		j.id, j.source,
		s.curl(j.source, j.steps[len(j.steps)-1]),
		s.grpcurl("tracking.v1.WaybillService/GetWaybill", map[string]any{"name": j.id.Name()}),
		s.grpcurl("subscription.v1.SubscriptionService/CreateSubscription", map[string]any{
			"parent":       "tenants/" + client.DefaultTenant,
			"subscription": map[string]any{"endpoint": s.endpoint, "carrier_code": own.CarrierCode, "waybill_number": own.WaybillNumber},
		}),
		s.grpcurl("ingest.v1.IngestService/ReportEvents", map[string]any{"events": []any{map[string]any{
			"carrier_code": own.CarrierCode, "waybill_number": own.WaybillNumber,
			"event_time": s.Now().Format(time.RFC3339), "status": "STATUS_IN_TRANSIT", "text": "It is on its way.",
		}}}),
		natsLines(s.Addresses.NATS), s.Addresses.Ops)
}

// curl is a command line that posts the push of a form.
func (s *show) curl(source string, doc []byte) string {
	p, err := s.Accounts.sign(source, doc, s.Now())
	if err != nil {
		return err.Error() // never: the journeys' sources push
	}
	words := []string{"curl", "-sS", quote("http://" + s.Addresses.HTTP + p.Path)}
	form, err := url.ParseQuery(string(p.Body))
	if err != nil {
		return err.Error() // never: it was encoded
	}
	for _, field := range slices.Sorted(maps.Keys(form)) {
		words = append(words, "--data-urlencode", quote(field+"="+form.Get(field)))
	}
	return strings.Join(words, " ")
}

// grpcurl is a command line that calls a method.
func (s *show) grpcurl(method string, request map[string]any) string {
	text, err := encode(request)
	if err != nil {
		return err.Error() // never: it is made of strings
	}
	return strings.Join([]string{".bin/grpcurl -plaintext -d", quote(string(text)), s.Addresses.GRPC, "posthaste." + method}, " ")
}

// natsLines are without messages' data, which is Protobuf: package feed is for
// that.
func natsLines(address string) string {
	if address == "" {
		return "(this NATS has no port: leave out --nats-listen=)"
	}
	nats := ".bin/nats --server=nats://" + address
	return nats + " stream subjects POSTHASTE_TRACE\n  " + nats + " sub --subjects-only " + quote(subject.AllTrace)
}

// quote makes a word of a shell's.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
