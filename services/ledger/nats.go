package ledger

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/posthaste/posthaste/services/internal/embedded"
)

// ServeNATS runs nats-server until the context ends: the ledger's child, set up
// as the promises need it.
func ServeNATS(ctx context.Context, dir, listen, maxStore string, stopTimeout time.Duration) error {
	most, err := size(maxStore)
	if err != nil {
		return err
	}
	s, err := embedded.StartNATS(ctx, embedded.NATSConfig{Dir: dir, Listen: listen, MaxStore: most, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	<-ctx.Done()
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return s.Stop(stopping)
}

func size(text string) (int64, error) {
	units := map[string]int64{"MiB": 1 << 20, "GiB": 1 << 30}
	for unit, factor := range units {
		if digits, ok := strings.CutSuffix(text, unit); ok {
			n, err := strconv.ParseInt(digits, 10, 64)
			return n * factor, err
		}
	}
	return 0, fmt.Errorf("size %q must end in MiB or GiB", text)
}
