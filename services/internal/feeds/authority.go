package feeds

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// Authority makes accounts and users of teams.
type Authority struct {
	root     Root
	operator nkeys.KeyPair
	system   *nats.Conn
	limits   Limits
	now      func() time.Time
}

// Limits bound what one team may use.
type Limits struct {
	// Bytes of its stream; 0 means 256 MiB.
	Bytes int64
	// Age after which a message leaves the stream, taken or not; 0 means 30 days.
	Age time.Duration
	// Connections at once; 0 means 100.
	Connections int64
	// Consumers; 0 means 100.
	Consumers int64
	// Replicas of its stream; 0 means 1.
	Replicas int
}

const (
	defaultBytes = 256 << 20
	defaultAge   = 30 * 24 * time.Hour
	defaultMany  = 100
)

func (l Limits) filled() Limits {
	if l.Bytes == 0 {
		l.Bytes = defaultBytes
	}
	if l.Age == 0 {
		l.Age = defaultAge
	}
	if l.Connections == 0 {
		l.Connections = defaultMany
	}
	if l.Consumers == 0 {
		l.Consumers = defaultMany
	}
	l.Replicas = max(l.Replicas, 1)
	return l
}

// NewAuthority uses a signing key of the operator's, and a connection of the
// system account's.
func NewAuthority(root Root, operator nkeys.KeyPair, system *nats.Conn, limits Limits, now func() time.Time) *Authority {
	return &Authority{root: root, operator: operator, system: system, limits: limits.filled(), now: now}
}

// Publish makes a tenant's account, or changes it. Users whose public keys are
// revoked, by when, are cut off; a tenant that isn't enabled has no connections.
// It is idempotent.
func (a *Authority) Publish(ctx context.Context, tenant string, enabled bool, revoked map[string]time.Time) error {
	err := a.publish(ctx, tenant, enabled, revoked)
	if err != nil {
		return fmt.Errorf("publish the account of tenant %s to NATS: %w", tenant, err)
	}
	return nil
}

func (a *Authority) publish(ctx context.Context, tenant string, enabled bool, revoked map[string]time.Time) error {
	account, err := a.root.account(tenant)
	if err != nil {
		return err
	}
	public, err := account.PublicKey()
	if err != nil {
		return err
	}
	c := jwt.NewAccountClaims(public)
	c.Name = "posthaste tenant " + tenant
	l := &c.Limits
	l.Conn, l.LeafNodeConn, l.Exports, l.Imports = a.limits.Connections, 0, 0, 0
	const publishers = 16 // delivery's own
	l.Conn += publishers
	const spare = 2 // what JetStream keeps beside the messages
	l.JetStreamLimits = jwt.JetStreamLimits{
		DiskStorage: spare * a.limits.Bytes * int64(a.limits.Replicas), Streams: 1, Consumer: a.limits.Consumers, MaxBytesRequired: true, DiskMaxStreamBytes: a.limits.Bytes,
	}
	if !enabled {
		c.RevokeAt(jwt.All, a.now().Add(time.Second))
	}
	for user, at := range revoked {
		c.RevokeAt(user, at.Add(time.Second)) // tokens have whole seconds
	}
	token, err := c.Encode(a.operator)
	if err != nil {
		return err
	}
	resp, err := a.system.RequestWithContext(ctx, "$SYS.REQ.CLAIMS.UPDATE", []byte(token))
	if err != nil {
		return err
	}
	var answer struct {
		Error *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(resp.Data, &answer); err != nil {
		return fmt.Errorf("the server's answer isn't understood: %w", err)
	}
	if answer.Error != nil {
		return fmt.Errorf("the server refuses it: %s", answer.Error.Description)
	}
	return nil
}

// NewUser signs credentials, in the form of a .creds file. Only the public key is
// to be kept. A zero expire means never.
func (a *Authority) NewUser(tenant, name string, expire time.Time) (public string, credentials []byte, err error) {
	public, token, seed, err := a.root.credentials(tenant, name, teamPermissions(), expire)
	if err != nil {
		return "", nil, fmt.Errorf("sign a user of tenant %s: %w", tenant, err)
	}
	credentials, err = jwt.FormatUserConfig(token, []byte(seed))
	return public, credentials, err
}
