package feeds

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

// Root is what the keys of teams' accounts are derived from. A secret.
type Root struct{ seed []byte }

// ParseRoot reads a root: the seed of an account's nkey, "SA…".
func ParseRoot(text string) (Root, error) {
	seed, err := readSeed(text, nkeys.PrefixByteAccount)
	return Root{seed}, err
}

// LoadRoot reads a root from a file.
func LoadRoot(file string) (Root, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return Root{}, fmt.Errorf("read the key of feeds: %w", err)
	}
	r, err := ParseRoot(string(b))
	if err != nil {
		return Root{}, fmt.Errorf("read the key of feeds in %s: %w", file, err)
	}
	return r, nil
}

// LoadOperator reads an operator's signing key from a file: its seed, "SO…".
func LoadOperator(file string) (nkeys.KeyPair, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the operator's key: %w", err)
	}
	seed, err := readSeed(string(b), nkeys.PrefixByteOperator)
	if err != nil {
		return nil, fmt.Errorf("read the operator's key in %s: %w", file, err)
	}
	return nkeys.FromSeed(seed)
}

var errSeed = errors.New("it isn't a seed of the right kind")

func readSeed(text string, kind nkeys.PrefixByte) ([]byte, error) {
	seed := []byte(strings.TrimSpace(text))
	prefix, _, err := nkeys.DecodeSeed(seed)
	if err != nil || prefix != kind {
		return nil, errSeed // what it is would be in nkeys' error
	}
	return seed, nil
}

// account is the key pair of a tenant's account, always the same.
func (r Root) account(tenant string) (nkeys.KeyPair, error) {
	if len(r.seed) == 0 {
		return nil, errors.New("there is no key of feeds")
	}
	mac := hmac.New(sha256.New, r.seed)
	mac.Write([]byte("posthaste feed account/" + tenant))
	seed, err := nkeys.EncodeSeed(nkeys.PrefixByteAccount, mac.Sum(nil))
	if err != nil {
		return nil, err
	}
	return nkeys.FromSeed(seed)
}

// credentials signs a user of a tenant's account.
func (r Root) credentials(tenant, name string, perms jwt.Permissions, expire time.Time) (public, token, seed string, err error) {
	account, err := r.account(tenant)
	if err != nil {
		return "", "", "", err
	}
	user, err := nkeys.CreateUser()
	if err != nil {
		return "", "", "", err
	}
	if public, err = user.PublicKey(); err != nil {
		return "", "", "", err
	}
	c := jwt.NewUserClaims(public)
	c.Name, c.Permissions = name, perms
	if !expire.IsZero() {
		c.Expires = expire.Unix()
	}
	if token, err = c.Encode(account); err != nil {
		return "", "", "", err
	}
	b, err := user.Seed()
	return public, token, string(b), err
}

// teamPermissions are those of a team's users in their own account: to read the
// stream by consumers of their own, and no more. The rest of JetStream's API is
// out of reach, and so is the feed's subject, for publishing.
func teamPermissions() jwt.Permissions {
	const s = Stream
	return jwt.Permissions{
		Pub: jwt.Permission{Allow: jwt.StringList{
			"$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST", "$JS.API.STREAM.INFO." + s,
			"$JS.API.CONSUMER.CREATE." + s, "$JS.API.CONSUMER.CREATE." + s + ".>", "$JS.API.CONSUMER.DURABLE.CREATE." + s + ".*",
			"$JS.API.CONSUMER.INFO." + s + ".*", "$JS.API.CONSUMER.NAMES." + s, "$JS.API.CONSUMER.LIST." + s, "$JS.API.CONSUMER.DELETE." + s + ".*",
			"$JS.API.CONSUMER.RESET." + s + ".*", "$JS.API.CONSUMER.PAUSE." + s + ".*", "$JS.API.CONSUMER.MSG.NEXT." + s + ".*",
			"$JS.API.STREAM.MSG.GET." + s, "$JS.API.DIRECT.GET." + s, "$JS.API.DIRECT.GET." + s + ".>",
			// Both forms of an acknowledgement's subject.
			"$JS.ACK." + s + ".>", "$JS.ACK.*.*." + s + ".>", "$JS.FC." + s + ".>",
		}},
		Sub: jwt.Permission{Allow: jwt.StringList{"_INBOX.>", "posthaste.v1.feed.>"}},
	}
}

// publisherPermissions are those of delivery in a team's account.
func publisherPermissions() jwt.Permissions {
	return jwt.Permissions{
		Pub: jwt.Permission{Allow: jwt.StringList{
			"posthaste.v1.feed.>", "$JS.API.INFO", "$JS.API.STREAM.INFO." + Stream, "$JS.API.STREAM.CREATE." + Stream, "$JS.API.STREAM.UPDATE." + Stream,
		}},
		Sub: jwt.Permission{Allow: jwt.StringList{"_INBOX.>"}},
	}
}
