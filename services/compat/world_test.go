package compat_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/services/compat"
	"github.com/posthaste/posthaste/services/internal/egress"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/push"
	"github.com/posthaste/posthaste/services/internal/recognize"
	"github.com/posthaste/posthaste/services/internal/testkit"
	"github.com/posthaste/posthaste/services/internal/track"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	kdniaoID  = "1237100"
	kdniaoKey = "56da2cf8-c8a2-44b2-b6fa-476cd7d1ba17"
	customer  = "TESTCUSTOMER"
	key       = "TESTKEY0123456"
)

// world is the service with a database of its own.
type world struct {
	t      testing.TB
	pool   *pgxpool.Pool
	addr   string
	traces map[track.Waybill]*track.Trace

	mu      sync.Mutex
	wanted  map[track.Waybill]string // phones of waybills that are asked for
	refusal error                    // of every call
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, pool: testkit.PostgreSQL(t), traces: map[track.Waybill]*track.Trace{}, wanted: map[track.Waybill]string{}}
	accounts := pg.NewPlatformAccounts(w.pool)
	now := time.Now()
	for _, a := range []pg.PlatformAccount{
		{Platform: int16(push.Kdniao), ID: kdniaoID, TenantID: "shop", Key: kdniaoKey, CreateTime: now},
		{Platform: int16(push.Kdniao), ID: "999", TenantID: "silent", Key: "nowhere", CreateTime: now},
		{Platform: int16(push.Kuaidi100), ID: customer, TenantID: "shop", Key: key, CreateTime: now},
	} {
		var e *pg.Endpoint
		if a.TenantID == "shop" && a.Platform == int16(push.Kdniao) {
			e = new(a.NewEndpoint("ep_default", "http://shop.example/kdniao", "whsec_x", now))
		}
		if _, err := accounts.Create(t.Context(), a, e); err != nil {
			t.Fatal(err)
		}
	}
	s := compat.New(compat.Config{
		Accounts: accounts, Subscriptions: pg.NewSubscriptions(w.pool),
		Traces: func(_ context.Context, waybills []track.Waybill) (map[track.Waybill]*track.Trace, error) {
			found := map[track.Waybill]*track.Trace{}
			for _, b := range waybills {
				if tr := w.traces[b]; tr != nil {
					found[b] = tr
				}
			}
			return found, nil
		},
		Candidates: func(_ context.Context, number string) []recognize.Candidate {
			return recognize.Candidates(number, recognize.Hints{})
		},
		Admit: func(context.Context, string) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.refusal
		},
		Want: func(_ context.Context, b track.Waybill, phone string, _ time.Time) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.wanted[b] = phone
			return nil
		},
		CheckURL: func(_ context.Context, _, url string) (string, string, error) {
			target, err := egress.Parse(url)
			return target.String(), "", err
		},
		Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	w.addr = strings.TrimPrefix(server.URL, "http://")
	return w
}

// raw sends bytes as they are, and reads the answer.
func (w *world) raw(request string) (int, string) {
	w.t.Helper()
	conn, err := (&net.Dialer{}).DialContext(w.t.Context(), "tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		w.t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	for err == nil && resp.StatusCode == http.StatusContinue {
		resp, err = http.ReadResponse(in, nil)
	}
	if err != nil {
		w.t.Fatalf("no answer to\n%s\n%v", request, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(resp.TransferEncoding) > 0 || resp.ContentLength != int64(len(body)) {
		w.t.Errorf("the answer has no length: %v", resp.Header)
	}
	return resp.StatusCode, string(body)
}

// request writes a request with a body; headers are lines.
func request(method, target, body string, headers ...string) string {
	return method + " " + target + " HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n" +
		strings.Join(append(headers, ""), "\r\n") + "\r\n" + body
}

const formHeader = "Content-Type: application/x-www-form-urlencoded;charset=utf-8"

func object(t testing.TB, body string) map[string]any {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal([]byte(body), &o); err != nil {
		t.Fatalf("the answer isn't a JSON object: %s", body)
	}
	return o
}

// subscriptionOf reads what was subscribed.
func (w *world) subscriptionOf(carrier, number string) (terms map[string]any, url string, live int) {
	w.t.Helper()
	rows, err := w.pool.Query(w.t.Context(), `
		SELECT s.terms, e.url FROM subscription s JOIN endpoint e ON e.id = s.endpoint_id
		WHERE s.carrier_code = $1 AND s.waybill_number = $2 AND s.state = 1`, carrier, number)
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = pgx.ForEachRow(rows, []any{&terms, &url}, func() error { live++; return nil })
	if err != nil {
		w.t.Fatal(err)
	}
	return terms, url, live
}

// forget removes all subscriptions.
func (w *world) forget() {
	w.t.Helper()
	if _, err := w.pool.Exec(w.t.Context(), `DELETE FROM subscription`); err != nil {
		w.t.Fatal(err)
	}
}

// know gives a waybill a trace: collected, and with the courier.
func (w *world) know(carrier, number string) {
	at := func(clock string) track.Time {
		wall, err := time.Parse(time.DateTime, clock)
		if err != nil {
			w.t.Fatal(err)
		}
		return track.Time{Wall: wall, Offset: 8 * time.Hour, OffsetSource: track.OffsetCarrierDefault, Precision: track.PrecisionSecond}
	}
	b := track.Waybill{Carrier: track.Carrier(carrier), Number: track.Number(number)}
	tr, _ := track.Merge(nil, track.Report{Waybill: b, Events: []track.Event{
		{
			ID: "e1", Kind: track.KindEvent, Time: at("2025-03-01 10:02:11"), Status: status.PickedUp, Sub: status.PickedUpCollected,
			Text: "【深圳市】已揽收", Location: track.Location{City: "深圳市", Text: "深圳市"},
		},
		{
			ID: "e2", Kind: track.KindEvent, Time: at("2025-03-03 09:10:22"), Status: status.OutForDelivery, Sub: status.OutForDeliveryOnVehicle,
			Text: "【武汉市】正在派件", Location: track.Location{City: "武汉市", Text: "武汉市"},
		},
	}}, time.Now())
	w.traces[b] = tr
}
