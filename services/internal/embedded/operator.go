package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// Files of the operator's folder.
const (
	operatorDir  = "operator"
	operatorFile = "operator.nk"
	mainFile     = "pipeline.nk"
	systemFile   = "system.nk"
	feedsFile    = "feeds.nk"
	accountsDir  = "accounts"
	mainCreds    = "pipeline.creds"
)

// operator is who the server trusts, and those inside who have its trust.
type operator struct {
	dir          string
	main, system nats.Option
}

// addOperator makes the server ask for credentials. The pipeline's account takes
// over what was stored when nobody was asked.
func addOperator(opts *server.Options, dir string) (*operator, error) {
	o := &operator{dir: filepath.Join(dir, operatorDir)}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return nil, err
	}
	key, err := o.key(operatorFile, nkeys.CreateOperator)
	if err != nil {
		return nil, err
	}
	if _, err := o.key(feedsFile, nkeys.CreateAccount); err != nil {
		return nil, err
	}
	public, err := key.PublicKey()
	if err != nil {
		return nil, err
	}
	resolver, err := server.NewDirAccResolver(filepath.Join(o.dir, accountsDir), 0, 2*time.Minute, server.NoDelete)
	if err != nil {
		return nil, err
	}
	claims := jwt.NewOperatorClaims(public)
	claims.Name = "posthaste"
	opts.TrustedOperators, opts.AccountResolver = []*jwt.OperatorClaims{claims}, resolver
	mainAccount, err := o.account(key, resolver, mainFile, "posthaste pipeline", func(c *jwt.AccountClaims) {
		c.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit, Streams: jwt.NoLimit, Consumer: jwt.NoLimit}
	})
	if err != nil {
		return nil, err
	}
	system, err := o.account(key, resolver, systemFile, "posthaste system", nil)
	if err != nil {
		return nil, err
	}
	if opts.SystemAccount, err = system.PublicKey(); err != nil {
		return nil, err
	}
	if o.main, err = o.user(mainAccount, mainCreds); err != nil {
		return nil, err
	}
	if o.system, err = o.user(system, ""); err != nil {
		return nil, err
	}
	return o, adopt(dir, mainAccount)
}

// adopt gives the pipeline's account the streams of the account that those had
// who weren't asked.
func adopt(dir string, account nkeys.KeyPair) error {
	public, err := account.PublicKey()
	if err != nil {
		return err
	}
	store := filepath.Join(dir, server.JetStreamStoreDir)
	if _, err := os.Stat(filepath.Join(store, public)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = os.Rename(filepath.Join(store, "$G"), filepath.Join(store, public))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// key reads a key, or makes it.
func (o *operator) key(name string, create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, error) {
	file := filepath.Join(o.dir, name)
	b, err := os.ReadFile(file)
	if err == nil {
		k, err := nkeys.FromSeed([]byte(strings.TrimSpace(string(b))))
		if err != nil {
			return nil, fmt.Errorf("read the key %s: it isn't a seed", file)
		}
		return k, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	k, err := create()
	if err != nil {
		return nil, err
	}
	seed, err := k.Seed()
	if err != nil {
		return nil, err
	}
	return k, writeSynced(file, append(seed, '\n'))
}

// writeSynced writes a file that is there whole or not at all: a key that was lost
// takes its account's streams with it.
func writeSynced(file string, b []byte) error {
	f, err := os.OpenFile(file+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(file+".new", file); err != nil {
		return err
	}
	return SyncFolder(filepath.Dir(file))
}

func (o *operator) account(by nkeys.KeyPair, resolver server.AccountResolver, file, name string, change func(*jwt.AccountClaims)) (nkeys.KeyPair, error) {
	key, err := o.key(file, nkeys.CreateAccount)
	if err != nil {
		return nil, err
	}
	public, err := key.PublicKey()
	if err != nil {
		return nil, err
	}
	c := jwt.NewAccountClaims(public)
	c.Name = name
	if change != nil {
		change(c)
	}
	token, err := c.Encode(by)
	if err != nil {
		return nil, err
	}
	return key, resolver.Store(public, token)
}

// user is one who may do everything in an account; written to a file, if it has a
// name, for those outside.
func (o *operator) user(account nkeys.KeyPair, file string) (nats.Option, error) {
	key, err := nkeys.CreateUser()
	if err != nil {
		return nil, err
	}
	public, err := key.PublicKey()
	if err != nil {
		return nil, err
	}
	c := jwt.NewUserClaims(public)
	c.Name = "posthaste-inside"
	token, err := c.Encode(account)
	if err != nil {
		return nil, err
	}
	seed, err := key.Seed()
	if err != nil {
		return nil, err
	}
	if file != "" {
		b, err := jwt.FormatUserConfig(token, seed)
		if err != nil {
			return nil, err
		}
		if err := writeSynced(filepath.Join(o.dir, file), b); err != nil {
			return nil, err
		}
	}
	return nats.UserJWTAndSeed(token, string(seed)), nil
}

// OperatorKey and FeedsKey are the files of the operator's key and of that which
// keys of teams' accounts are derived from; empty without an operator.
func (n *NATS) OperatorKey() string { return n.operatorFile(operatorFile) }

// FeedsKey is beside [NATS.OperatorKey].
func (n *NATS) FeedsKey() string { return n.operatorFile(feedsFile) }

func (n *NATS) operatorFile(name string) string {
	if n.operator == nil {
		return ""
	}
	return filepath.Join(n.operator.dir, name)
}

// ConnectSystem makes a connection of the system account's, to a server that has
// an operator.
func (n *NATS) ConnectSystem() (*nats.Conn, error) {
	if n.operator == nil {
		return nil, errors.New("connect to the embedded nats-server: it has no operator")
	}
	return n.ConnectAs(n.operator.system)
}

// ConnectAs makes a connection inside the process as somebody.
func (n *NATS) ConnectAs(opts ...nats.Option) (*nats.Conn, error) {
	nc, err := nats.Connect("", append([]nats.Option{nats.InProcessServer(n.server)}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded nats-server: %w", err)
	}
	return nc, nil
}
