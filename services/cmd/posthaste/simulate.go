package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/simulator"
)

// simulateCmd stands in for carriers and aggregators.
type simulateCmd struct {
	Listen    string            `env:"-" default:"127.0.0.1:8090" help:"Address at which queries are answered: Kdniao 1002, 8001 and 8002, Kuaidi100 query.do, DHL track/shipments."`
	Seed      uint64            `env:"-" default:"1" help:"Decides everything that is by chance."`
	Speed     float64           `env:"-" default:"720" help:"How much faster than real journeys go; 720 makes a minute of 12 hours."`
	Kdniao    map[string]string `env:"-" placeholder:"EBUSINESSID=APPKEY" help:"Kdniao accounts that may ask; without one, anybody."`
	Kuaidi100 map[string]string `env:"-" placeholder:"CUSTOMER=KEY" help:"Kuaidi100 accounts that may ask; without one, anybody."`
	DHL       string            `env:"-" name:"dhl" placeholder:"KEY" help:"API key of DHL; without it, anybody may ask."`
	FailEvery int64             `env:"-" default:"0" help:"One of so many queries fails, by turns as a fault and as too many; 0 for none."`

	PushKdniao    string `env:"-" placeholder:"URL" help:"Where Kdniao's pushes go, such as http://127.0.0.1:8080/v1/sources/kdniao."`
	PushKuaidi100 string `env:"-" name:"push-kuaidi100" placeholder:"URL" help:"Where Kuaidi100's pushes go, such as http://127.0.0.1:8080/v1/sources/kuaidi100/main."`
	PushID        string `env:"-" name:"push-id" default:"1" help:"EBusinessID that Kdniao's pushes come from."`
	PushKey       string `env:"-" name:"push-key" help:"AppKey that signs Kdniao's pushes."`
	PushSalt      string `env:"-" name:"push-salt" help:"Salt that signs Kuaidi100's pushes."`
	Count         int    `env:"-" default:"10" help:"How many waybills are pushed."`
}

// Run is called by kong.
func (c *simulateCmd) Run() error {
	if c.Speed <= 0 {
		return fmt.Errorf("--speed is %v and must be above 0", c.Speed)
	}
	log, err := obs.NewLogger(os.Stderr, "text", slog.LevelInfo)
	if err != nil {
		return err
	}
	ctx, release := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer release()
	s := simulator.New(simulator.Config{
		Seed: c.Seed, Speed: c.Speed, Start: time.Now(), Kdniao: c.Kdniao, Kuaidi100: c.Kuaidi100, DHL: c.DHL, FailEvery: c.FailEvery, Log: log, Now: time.Now,
	})
	if c.PushKdniao != "" || c.PushKuaidi100 != "" {
		return c.push(ctx, s)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(stopping)
	}()
	fmt.Printf("Queries are answered at http://%s. Ask Posthaste to poll it:\n\n  posthaste serve --poll-accounts='kdniao=1,any' --poll-urls='kdniao=http://%s'\n\n", l.Addr(), l.Addr())
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	<-stopped
	fmt.Printf("%d queries were answered.\n", s.Queries())
	return nil
}

func (c *simulateCmd) push(ctx context.Context, s *simulator.Simulator) error {
	fmt.Printf("Pushing %d waybills, from %s to %s.\n", c.Count, s.Number(0), s.Number(c.Count-1))
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 32}}
	done, err := s.Push(ctx, simulator.PushConfig{
		Kdniao: c.PushKdniao, Kuaidi100: c.PushKuaidi100, KdniaoID: c.PushID, KdniaoKey: c.PushKey, Kuaidi100Salt: c.PushSalt, Count: c.Count, Client: client,
	})
	fmt.Printf("%d pushes are acknowledged, %d of them repeated; %d were tried again.\n", done.Pushes, done.Repeats, done.Retries)
	if errors.Is(err, context.Canceled) {
		return nil // asked to stop
	}
	return err
}
