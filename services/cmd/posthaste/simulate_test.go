package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func TestSimulate_PushesJourneysAndSaysSo(t *testing.T) {
	t.Parallel()
	var pushes atomic.Int64
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("RequestData") != "" && len(r.FormValue("DataSign")) == 44 {
			pushes.Add(1)
			_, _ = w.Write([]byte(`{"Success":true}`))
		}
	}))
	t.Cleanup(receiver.Close)
	out, err := posthaste(t, nil, "simulate", "--push-kdniao="+receiver.URL, "--push-key=k", "--count=5", "--speed=1000000000")
	if err != nil || pushes.Load() < 5 || !strings.Contains(out, "pushes are acknowledged") {
		t.Errorf("%v, %d pushes: %s", err, pushes.Load(), out)
	}
	if out, err := posthaste(t, nil, "simulate", "--speed=0"); err == nil || !strings.Contains(out, "--speed") {
		t.Errorf("%v: %s", err, out)
	}
}
