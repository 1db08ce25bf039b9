package poller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// grants are where and how sources with OAuth give tokens for client credentials.
var grants = map[string]struct {
	path string
	json bool // whether the request is JSON and not a form
	head bool // whether the credentials are in the header and not in the body
}{
	"usps":  {path: "/oauth2/v3/token", json: true},
	"ups":   {path: "/security/v1/oauth/token", head: true},
	"fedex": {path: "/oauth/token"},
}

// errRefused says that a source doesn't accept the credentials.
var errRefused = errors.New("the source refuses the credentials")

// tokens keeps a source's token while it is valid.
type tokens struct {
	client *http.Client
	mu     sync.Mutex
	token  string
	until  time.Time
}

// get returns a valid token, empty for a source without OAuth.
func (t *tokens) get(ctx context.Context, source, base string, account Account, now time.Time) (string, error) {
	grant, ok := grants[source]
	if !ok {
		return "", nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Before(t.until) {
		return t.token, nil
	}
	values := url.Values{"grant_type": {"client_credentials"}}
	if !grant.head {
		values.Set("client_id", account.ID)
		values.Set("client_secret", account.Secret)
	}
	body, kind := values.Encode(), "application/x-www-form-urlencoded"
	if grant.json {
		fields := make(map[string]string, len(values))
		for k := range values {
			fields[k] = values.Get(k)
		}
		text, err := json.Marshal(fields)
		if err != nil {
			return "", err
		}
		body, kind = string(text), "application/json"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+grant.path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", kind)
	if grant.head {
		req.Header.Set("Authorization", basic(account))
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return "", fmt.Errorf("get a token of %s: %w", source, err)
	}
	defer func() { _ = resp.Body.Close() }()
	const maxToken = 64 << 10
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxToken))
	if err != nil {
		return "", fmt.Errorf("get a token of %s: %w", source, err)
	}
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		return "", fmt.Errorf("get a token of %s: %w", source, errRefused)
	default:
		return "", fmt.Errorf("get a token of %s: it answers %d", source, resp.StatusCode)
	}
	var said struct {
		Token   string      `json:"access_token"`
		Expires json.Number `json:"expires_in"` // UPS writes it as a string
	}
	if err := json.Unmarshal(data, &said); err != nil || said.Token == "" {
		return "", fmt.Errorf("get a token of %s: the answer has none", source)
	}
	const early, least = time.Minute, 30 * time.Second
	seconds, _ := said.Expires.Int64()
	t.token, t.until = said.Token, now.Add(max(time.Duration(seconds)*time.Second-early, least))
	return t.token, nil
}

// drop forgets a token that was refused.
func (t *tokens) drop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.until = time.Time{}
}

// quote writes a JSON string.
func quote(s string) string {
	b, _ := json.Marshal(s) // a string never fails
	return string(b)
}
