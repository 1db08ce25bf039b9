package simulator_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/posthaste/posthaste/services/internal/carrier"
	"github.com/posthaste/posthaste/services/internal/journey"
	"github.com/posthaste/posthaste/services/internal/track"
	"github.com/posthaste/posthaste/services/simulator"
)

var start = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

// at is a simulator whose journeys have gone on for some time, and its address.
func at(t *testing.T, elapsed time.Duration, change ...func(*simulator.Config)) (*simulator.Simulator, string) { //nolint:unparam // alike with its neighbours
	t.Helper()
	cfg := simulator.Config{Seed: 1, Speed: 3600, Start: start, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return start.Add(elapsed / 3600) }}
	for _, f := range change {
		f(&cfg)
	}
	s := simulator.New(cfg)
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	return s, server.URL
}

func post(t *testing.T, address string, form url.Values) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return do(t, req)
}

func do(t *testing.T, req *http.Request) (int, string) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func kdniaoQuery(number, kind string) url.Values {
	return url.Values{"RequestData": {`{"ShipperCode":"SF","LogisticCode":"` + number + `"}`}, "EBusinessID": {"1"}, "RequestType": {kind}, "DataSign": {"?"}}
}

func TestHandler_TellsTheSameJourneyInEveryForm(t *testing.T) {
	t.Parallel()
	_, address := at(t, 33*time.Hour)
	get := func(number string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address+"/track/shipments?trackingNumber="+number, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		return do(t, req)
	}
	const number = "SIM-DELIVERED-1" // out for delivery by now
	if code, body := post(t, address+"/Ebusiness/EbusinessOrderHandle.aspx", kdniaoQuery(number, "8001")); code != 200 || !strings.Contains(body, `"StateEx":"202"`) || strings.Contains(body, "301") {
		t.Errorf("kdniao: %d %s", code, body)
	}
	if code, body := post(t, address+"/poll/query.do", url.Values{"param": {`{"com":"shunfeng","num":"` + number + `"}`}}); code != 200 || !strings.Contains(body, `"state":"5"`) {
		t.Errorf("kuaidi100: %d %s", code, body)
	}
	if code, body := get(number); code != 200 || strings.Count(body, `"timestamp"`) != 6 {
		t.Errorf("dhl: %d %s", code, body)
	}
	const unknown = "SIM-UNKNOWN-1"
	if _, body := post(t, address+"/api/dist", kdniaoQuery(unknown, "1002")); !strings.Contains(body, `"Success":false`) || !strings.Contains(body, `"Traces":[]`) {
		t.Errorf("kdniao: %s", body)
	}
	if _, body := post(t, address+"/poll/query.do", url.Values{"param": {`{"com":"shunfeng","num":"` + unknown + `"}`}}); !strings.Contains(body, `"returnCode":"500"`) {
		t.Errorf("kuaidi100: %s", body)
	}
	if code, _ := get(unknown); code != 404 {
		t.Errorf("dhl: %d", code)
	}
}

func TestHandler_RefusesWhatIsWrong(t *testing.T) {
	t.Parallel()
	_, address := at(t, time.Hour, func(c *simulator.Config) {
		c.Kdniao, c.Kuaidi100, c.DHL = map[string]string{"1": "key"}, map[string]string{"me": "key"}, "key"
	})
	if _, body := post(t, address+"/api/dist", kdniaoQuery("SIM-DELIVERED-1", "8001")); !strings.Contains(body, "非法参数") {
		t.Errorf("kdniao: %s", body)
	}
	if _, body := post(t, address+"/poll/query.do", url.Values{"param": {`{}`}, "customer": {"me"}, "sign": {"?"}}); !strings.Contains(body, `"503"`) {
		t.Errorf("kuaidi100: %s", body)
	}
	_, open := at(t, time.Hour)
	if _, body := post(t, open+"/api/dist", kdniaoQuery("", "8001")); !strings.Contains(body, "LogisticCode") {
		t.Errorf("no number: %s", body)
	}
	if _, body := post(t, open+"/api/dist", kdniaoQuery("1234", "1008")); !strings.Contains(body, "1008") {
		t.Errorf("a subscription: %s", body)
	}
}

func TestHandler_FailsByTurnsWhenAsked(t *testing.T) {
	t.Parallel()
	_, address := at(t, time.Hour, func(c *simulator.Config) { c.FailEvery = 2 })
	var codes []int
	for range 6 {
		code, _ := post(t, address+"/api/dist", kdniaoQuery("SIM-DELIVERED-1", "8001"))
		codes = append(codes, code)
	}
	if got := fmt.Sprint(codes); got != "[200 500 200 429 200 500]" {
		t.Errorf("got %s", got)
	}
}

// All pushes come, each until it is acknowledged, in the order of each waybill, and
// end every journey where it ends.
func TestPush_TellsWholeJourneysUntilAcknowledged(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	traces := map[track.Waybill]*track.Trace{}
	calls, repeats := 0, 0
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if calls++; calls%7 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		source, field, yes := "kdniao", "RequestData", `{"Success":true}`
		if r.FormValue("param") != "" {
			source, field, yes = "kuaidi100", "param", `{"result":true}`
		}
		s, _ := carrier.Lookup(source)
		parts, err := s.Split([]byte(r.FormValue(field)))
		if err != nil || len(parts) != 1 || parts[0].Err != nil {
			t.Errorf("%s: %v", r.FormValue(field), err)
			return
		}
		id := track.Waybill{Carrier: parts[0].Carrier, Number: parts[0].Number}
		report, err := s.Map(carrier.Raw{Waybill: id, Body: parts[0].Body, Context: parts[0].Context})
		if err != nil {
			t.Error(err)
		}
		merged, changed := track.Merge(traces[id], report, start)
		if !changed {
			repeats++
		}
		traces[id] = merged
		_, _ = io.WriteString(w, yes)
	}))
	t.Cleanup(receiver.Close)
	s := simulator.New(simulator.Config{Seed: 5, Speed: 1e6, Start: time.Now(), Log: slog.New(slog.DiscardHandler), Now: time.Now})
	const count = 60
	done, err := s.Push(t.Context(), simulator.PushConfig{
		Kdniao: receiver.URL, Kuaidi100: receiver.URL, KdniaoID: "1", KdniaoKey: "k", Count: count, Client: receiver.Client(), FirstPause: time.Millisecond, Concurrency: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	if done.Retries == 0 || done.Repeats == 0 || repeats == 0 {
		t.Errorf("pushed: %+v; %d changed nothing", done, repeats)
	}
	for i := range count {
		p := journey.Of(5, s.Number(i))
		trace := traces[track.Waybill{Carrier: "sf-express", Number: track.Number(s.Number(i))}]
		switch {
		case len(p.Journey.Steps) == 0 && trace != nil:
			t.Errorf("%s is unknown and told of", s.Number(i))
		case len(p.Journey.Steps) > 0 && trace == nil:
			t.Errorf("nothing is told of %s, %s", s.Number(i), p.Journey.Name)
		case p.Journey.Final != 0 && trace.State.Sub != p.Journey.Final:
			t.Errorf("%s (%s, %+v) ends as %d", s.Number(i), p.Journey.Name, p.Faults, trace.State.Sub)
		}
	}
}

func TestPush_EndsWithItsContext(t *testing.T) {
	t.Parallel()
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	t.Cleanup(receiver.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	s := simulator.New(simulator.Config{Seed: 5, Speed: 1e9, Start: time.Now(), Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if _, err := s.Push(ctx, simulator.PushConfig{Kdniao: receiver.URL, Count: 5, Client: receiver.Client()}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Push(t.Context(), simulator.PushConfig{}); err == nil {
		t.Error("it pushes nowhere")
	}
}
