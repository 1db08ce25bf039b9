package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"google.golang.org/grpc/credentials"
)

// WithKey sends an API key with every call. A key is not sent in the clear to
// another machine: [Dial] refuses a client that would, unless it is told
// [WithKeyInTheClear].
func WithKey(key string) Option {
	return func(o *options) { o.key = func() (string, error) { return key, nil } }
}

// WithKeyFile sends the API key in a file, which is read again for every call:
// a key that is rotated there needs no restart.
func WithKeyFile(path string) Option {
	return func(o *options) {
		o.key = func() (string, error) {
			b, err := os.ReadFile(path)
			if err != nil {
				return "", fmt.Errorf("read the API key: %w", err)
			}
			return strings.TrimSpace(string(b)), nil
		}
	}
}

// WithKeyInTheClear sends the key although whoever is between here and the
// server can read it: for a mesh that encrypts by itself.
func WithKeyInTheClear() Option { return func(o *options) { o.keyInTheClear = true } }

// ErrKeyInTheClear says that a key would be sent unencrypted to another machine.
var ErrKeyInTheClear = errors.New("an API key must not be sent in the clear to another machine: use TLS, or WithKeyInTheClear")

// keyCredentials sends the key with each call.
type keyCredentials struct {
	key     func() (string, error)
	inClear bool
}

// GetRequestMetadata is called by gRPC for each call.
func (k keyCredentials) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	if !k.inClear {
		info, ok := credentials.RequestInfoFromContext(ctx)
		if !ok || credentials.CheckSecurityLevel(info.AuthInfo, credentials.PrivacyAndIntegrity) != nil {
			return nil, ErrKeyInTheClear
		}
	}
	key, err := k.key()
	if err != nil {
		return nil, err
	}
	return map[string]string{"authorization": "Bearer " + key}, nil
}

// RequireTransportSecurity is false: it is looked at call by call.
func (keyCredentials) RequireTransportSecurity() bool { return false }

// loopback says whether a target is this machine.
func loopback(target string) bool {
	if strings.HasPrefix(target, "unix:") {
		return true
	}
	// "scheme://authority/endpoint", "scheme:endpoint" or "endpoint".
	endpoint := target
	if i := strings.LastIndex(target, "/"); i >= 0 {
		endpoint = target[i+1:]
	} else if rest, ok := strings.CutPrefix(target, "dns:"); ok {
		endpoint = rest
	}
	host, _, err := net.SplitHostPort(endpoint)
	if err != nil {
		host = endpoint
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.Unmap().IsLoopback()
}
