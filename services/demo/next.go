package demo

import (
	"fmt"
	"strings"

	"github.com/posthaste/posthaste/pkg/subject"
)

// whatNext prints commands that work as they stand.
func (s *show) whatNext(j journey) {
	s.say(`
What to try now, in another terminal (make .bin/grpcurl .bin/nats builds the tools):

The last step of %s, as %s would push it. The callback shows here:
  %s

Where the parcel stands, over gRPC:
  %s

Its trace on NATS, the waybills beside it, and all that changes from now on:
  %s

Metrics:
  curl -sS http://%s/metrics | grep '^posthaste_'

Ctrl-C ends everything; the data stays.`,
		j.id, j.source,
		curl("http://"+s.Addresses.HTTP, s.Accounts.sign(j.source, j.steps[len(j.steps)-1])),
		grpcurl(s.Addresses.GRPC, j),
		natsLines(s.Addresses.NATS, j), s.Addresses.Ops)
}

// curl is a command line that posts a push.
func curl(base string, p post) string {
	words := []string{"curl", "-sS", quote(base + p.path)}
	for _, field := range []string{"RequestType", "DataSign", "RequestData", "sign", "param"} {
		if p.form.Has(field) {
			words = append(words, "--data-urlencode", quote(field+"="+p.form.Get(field)))
		}
	}
	return strings.Join(words, " ")
}

func grpcurl(address string, j journey) string {
	return fmt.Sprintf(".bin/grpcurl -plaintext -d %s %s posthaste.tracking.v1.WaybillService/GetWaybill", quote(fmt.Sprintf(`{"name":%q}`, j.id.Name())), address)
}

func natsLines(address string, j journey) string {
	if address == "" {
		return "(this Posthaste's NATS has no port: leave out --nats-listen=)"
	}
	nats := ".bin/nats --server=nats://" + address
	return strings.Join([]string{
		nats + " stream get POSTHASTE_TRACE --last-for=" + quote(subject.Trace(j.id.CarrierCode, j.id.WaybillNumber)),
		nats + " stream subjects POSTHASTE_TRACE",
		nats + " sub " + quote(subject.AllTrace),
	}, "\n  ")
}

// quote makes a word of a shell's.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
