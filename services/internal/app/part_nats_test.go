package app

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestCheckSync_MostMustAnswerAndNoneBeWeak(t *testing.T) {
	t.Parallel()
	server := func(status int, varz string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, varz)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	good := server(http.StatusOK, `{"version":"2.15.2","jetstream":{"config":{"sync_always":true,"store_dir":"/x"}}}`)
	weak := server(http.StatusOK, `{"version":"2.15.2","jetstream":{"config":{"sync_interval":120000000000,"store_dir":"/x"}}}`)
	silent := server(http.StatusServiceUnavailable, `{"why":"it starts"}`)
	for name, tt := range map[string]struct {
		monitors        []string
		fine, permanent bool
	}{
		"none is asked":                 {nil, true, false},
		"all are good":                  {[]string{good, good, good}, true, false},
		"one of three is silent":        {[]string{good, silent, good}, true, false},
		"two of three are silent":       {[]string{good, silent, silent}, false, false},
		"one of two is silent":          {[]string{good, silent}, false, false},
		"the only one is silent":        {[]string{silent}, false, false},
		"one of three is weak":          {[]string{good, good, weak}, false, true},
		"one is weak and one is silent": {[]string{silent, good, weak}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := checkSync(t.Context(), tt.monitors)
			_, permanent := errors.AsType[permanentError](err)
			if (err == nil) != tt.fine || permanent != tt.permanent {
				t.Errorf("it answers %v, for good: %t", err, permanent)
			}
		})
	}
}
