package simulator

import (
	"container/heap"
	"context"
	"crypto/md5" //nolint:gosec // what both platforms sign with
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/posthaste/posthaste/services/internal/journey"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/pause"
)

// PushConfig says what is pushed where.
type PushConfig struct {
	// Kdniao is the URL that Kdniao's pushes go to, with the account that signs them;
	// Kuaidi100 the other's. Numbers alternate between those that are set.
	Kdniao, Kuaidi100          string
	KdniaoID, KdniaoKey        string
	Kuaidi100Salt              string
	Count                      int // of waybills
	Concurrency                int // 0 means 16
	Client                     *http.Client
	FirstPause, LongestRetries time.Duration // 0 means 200 ms and 30 s
}

// Pushed is what was pushed.
type Pushed struct{ Pushes, Repeats, Retries int64 }

// change is a push that is due.
type change struct {
	at    time.Duration // since the start, in real time
	index int
	step  time.Duration // since the start, in simulated time
}

type changes []change

func (c changes) Len() int           { return len(c) }
func (c changes) Less(i, j int) bool { return c[i].at < c[j].at }
func (c changes) Swap(i, j int)      { c[i], c[j] = c[j], c[i] }
func (c *changes) Push(x any)        { *c = append(*c, x.(change)) } //nolint:forcetypeassert,errcheck // it is ours
func (c *changes) Pop() any {
	old := *c
	last := old[len(old)-1]
	*c = old[:len(old)-1]
	return last
}

// Push sends the pushes of a number of waybills when their time comes, until all
// are acknowledged or the context ends. Each holds the whole trace so far, as
// platforms do; one that isn't acknowledged is repeated.
func (s *Simulator) Push(ctx context.Context, cfg PushConfig) (Pushed, error) {
	if cfg.Kdniao == "" && cfg.Kuaidi100 == "" {
		return Pushed{}, errors.New("simulate pushes: no URL is given")
	}
	if cfg.Concurrency == 0 {
		cfg.Concurrency = 16
	}
	if cfg.FirstPause == 0 {
		cfg.FirstPause = 200 * time.Millisecond
	}
	if cfg.LongestRetries == 0 {
		cfg.LongestRetries = 30 * time.Second
	}
	queue := &changes{}
	for i := range cfg.Count {
		s.plan(queue, i, -1)
	}
	results := make(chan Pushed, cfg.Concurrency)
	total := make(chan Pushed, 1)
	go func() {
		var sum Pushed
		for r := range results {
			sum.Pushes, sum.Repeats, sum.Retries = sum.Pushes+r.Pushes, sum.Repeats+r.Repeats, sum.Retries+r.Retries
		}
		total <- sum
	}()
	group, limited := errgroup.WithContext(ctx)
	group.SetLimit(cfg.Concurrency)
	for queue.Len() > 0 && limited.Err() == nil {
		c := heap.Pop(queue).(change) //nolint:forcetypeassert,errcheck // it is ours
		if wait := c.at - s.cfg.Now().Sub(s.cfg.Start); wait > 0 {
			if err := pause.For(limited, wait); err != nil {
				break
			}
		}
		s.plan(queue, c.index, c.step)
		group.Go(func() error {
			r, err := s.pushOne(limited, &cfg, c)
			results <- r
			return err
		})
	}
	err := group.Wait()
	close(results)
	if err == nil {
		err = ctx.Err()
	}
	return <-total, err
}

// plan queues the next change of a waybill after a step.
func (s *Simulator) plan(queue *changes, index int, after time.Duration) {
	p := journey.Of(s.cfg.Seed, s.Number(index))
	for _, step := range p.Changes() {
		if step > after {
			heap.Push(queue, change{at: time.Duration(float64(step) / s.cfg.Speed), index: index, step: step})
			return
		}
	}
}

func (s *Simulator) pushOne(ctx context.Context, cfg *PushConfig, c change) (Pushed, error) {
	number := s.Number(c.index)
	p := journey.Of(s.cfg.Seed, number)
	told := p.Told(s.cfg.Start.Add(-p.Length()), c.step)
	address, body := s.form(cfg, c.index, number, told)
	var r Pushed
	times := 1
	if p.Faults.Repeat {
		times = 2
	}
	for i := range times {
		retries, err := s.send(ctx, cfg, address, body)
		r.Retries += retries
		if err != nil {
			return r, err
		}
		if i > 0 {
			r.Repeats++
			continue
		}
		r.Pushes++
	}
	return r, nil
}

// form is a push as its platform sends it.
func (s *Simulator) form(cfg *PushConfig, index int, number string, told []journey.Event) (address, body string) {
	if cfg.Kuaidi100 == "" || cfg.Kdniao != "" && index%2 == 0 {
		data := string(journey.KdniaoPush(cfg.KdniaoID, s.cfg.Now(), journey.Kdniao(cfg.KdniaoID, "SF", number, told)))
		sum := md5.Sum([]byte(data + cfg.KdniaoKey)) //nolint:gosec // what Kdniao signs with
		return cfg.Kdniao, values("RequestData", data, "RequestType", "102", "DataSign", base64.StdEncoding.EncodeToString([]byte(hex.EncodeToString(sum[:]))))
	}
	param := string(journey.Kuaidi100Push(journey.Kuaidi100("shunfeng", number, told)))
	sum := md5.Sum([]byte(param + cfg.Kuaidi100Salt)) //nolint:gosec // what Kuaidi100 signs with
	return cfg.Kuaidi100, values("param", param, "sign", strings.ToUpper(hex.EncodeToString(sum[:])))
}

// send posts until it is acknowledged.
func (s *Simulator) send(ctx context.Context, cfg *PushConfig, address, body string) (retries int64, err error) {
	rest := cfg.FirstPause
	for {
		why := s.post(ctx, cfg, address, body)
		if why == nil {
			return retries, nil
		}
		if ctx.Err() != nil {
			return retries, ctx.Err()
		}
		s.cfg.Log.WarnContext(ctx, "a push isn't acknowledged; it is repeated", obs.KeyError, why)
		retries++
		if err := pause.For(ctx, rest); err != nil {
			return retries, err
		}
		rest = min(rest*2, cfg.LongestRetries)
	}
}

// post posts once; nil means acknowledged.
func (s *Simulator) post(ctx context.Context, cfg *PushConfig, address, body string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded;charset=utf-8")
	resp, err := cfg.Client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return err
	}
	// Both platforms look into the body.
	if text := string(answer); resp.StatusCode == http.StatusOK && (strings.Contains(text, `"Success":true`) || strings.Contains(text, `"result":true`)) {
		return nil
	}
	return fmt.Errorf("answered %d: %.200s", resp.StatusCode, answer)
}
