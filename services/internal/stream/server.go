package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// MinServer is the oldest nats-server that is trusted with the promise: older
// ones can lose what was synced when they compact a block.
const MinServer = "2.15.2"

// CheckServerVersion refuses a server that is older than [MinServer].
func CheckServerVersion(version string) error {
	have, err := parseVersion(version)
	if err != nil {
		return fmt.Errorf("nats-server version %q: %w", version, err)
	}
	least, err := parseVersion(MinServer)
	if err != nil {
		return err
	}
	for i := range least {
		if have[i] != least[i] {
			if have[i] < least[i] {
				return fmt.Errorf("nats-server is %s and must be at least %s: older ones can lose what they have acknowledged", version, MinServer)
			}
			return nil
		}
	}
	return nil
}

func parseVersion(s string) (v [3]int, err error) {
	core, _, _ := strings.Cut(strings.TrimPrefix(s, "v"), "-")
	parts := strings.Split(core, ".")
	if len(parts) != len(v) {
		return v, errors.New("it is not three numbers")
	}
	for i, p := range parts {
		if v[i], err = strconv.Atoi(p); err != nil {
			return v, errors.New("it is not three numbers")
		}
	}
	return v, nil
}

const (
	monitorTimeout = 5 * time.Second
	monitorMax     = 4 << 20
)

// CheckServerSync asks a server's monitoring address, "http://host:8222", whether
// it syncs before it acknowledges, and refuses one that doesn't.
func CheckServerSync(ctx context.Context, monitor string) error {
	ctx, cancel := context.WithTimeout(ctx, monitorTimeout)
	defer cancel()
	url := strings.TrimSuffix(monitor, "/") + "/varz"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask nats-server for its settings: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask nats-server for its settings: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask nats-server for its settings: %s answered %s", url, resp.Status)
	}
	var answer struct {
		Version   string `json:"version"`
		JetStream struct {
			Config *struct {
				SyncAlways bool `json:"sync_always"`
			} `json:"config"`
		} `json:"jetstream"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, monitorMax)).Decode(&answer); err != nil {
		return fmt.Errorf("ask nats-server for its settings: %s answered %s: %w", url, resp.Status, err)
	}
	switch {
	case answer.JetStream.Config == nil:
		return &WeakServerError{fmt.Sprintf("nats-server at %s has no JetStream", monitor)}
	case !answer.JetStream.Config.SyncAlways:
		return &WeakServerError{fmt.Sprintf("nats-server at %s doesn't sync before it acknowledges: a power cut would lose what was accepted; set sync_interval: always in its jetstream block", monitor)}
	}
	if err := CheckServerVersion(answer.Version); err != nil {
		return &WeakServerError{err.Error()}
	}
	return nil
}

// WeakServerError says why a server can't be trusted with the promise.
type WeakServerError struct{ why string }

func (e *WeakServerError) Error() string { return e.why }
