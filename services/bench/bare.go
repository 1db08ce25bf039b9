package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posthaste/posthaste/pkg/webhook"
)

// BareResult is what the bare client reached.
type BareResult struct {
	Requests int64         `json:"requests"`
	Elapsed  time.Duration `json:"elapsed"`
}

// RunBare posts one signed body to url as fast as a minimal net/http client
// can, with 64 requests in flight, and prints a [BareResult] on out.
func RunBare(ctx context.Context, url string, body []byte, length time.Duration, out io.Writer) error {
	const inFlight = 64
	secret, err := webhook.ParseSecret(webhook.NewSecret())
	if err != nil {
		return err
	}
	id, now := "psh_bare", time.Now()
	header := http.Header{
		"Content-Type":      {"application/json"},
		"Webhook-Id":        {id},
		"Webhook-Timestamp": {strconv.FormatInt(now.Unix(), 10)},
		"Webhook-Signature": {webhook.Sign(secret, id, now, body)},
	}
	transport := &http.Transport{MaxIdleConns: inFlight, MaxIdleConnsPerHost: inFlight}
	client := &http.Client{Transport: transport}

	whole := context.WithoutCancel(ctx)
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	var done atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	start := time.Now()
	for range inFlight {
		wg.Go(func() {
			for ctx.Err() == nil {
				// Not the deadline's context: a request under way is finished.
				req, err := http.NewRequestWithContext(whole, http.MethodPost, url, bytes.NewReader(body))
				if err == nil {
					req.Header = header
					err = post(client, req)
				}
				if err != nil {
					failed.Store(&err)
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return fmt.Errorf("bare client: %w", *err)
	}
	return json.NewEncoder(out).Encode(BareResult{Requests: done.Load(), Elapsed: time.Since(start)})
}

func post(client *http.Client, req *http.Request) error {
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", resp.Status)
	}
	return nil
}
