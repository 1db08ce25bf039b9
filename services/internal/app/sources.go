package app

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/posthaste/posthaste/services/internal/carrier"
)

// maxSecretFile is the most bytes a file with a secret may have.
const maxSecretFile = 64 << 10

// accounts are the secrets by source and account, those from files read.
func (c *SourcesConfig) accounts() (map[string]map[string]string, error) {
	all := map[string]map[string]string{}
	err := c.each(func(flag, source, account string, s Secret) error {
		secret := s.Reveal()
		if path, ok := strings.CutPrefix(secret, "@"); ok {
			var err error
			if secret, err = readSecret(path); err != nil {
				return fmt.Errorf("--%s, account %s: %w", flag, account, err)
			}
		}
		if all[source] == nil {
			all[source] = map[string]string{}
		}
		if _, twice := all[source][account]; twice {
			return fmt.Errorf("--%s, account %s of %s is given twice", flag, account, source)
		}
		all[source][account] = secret
		return nil
	})
	return all, err
}

// each calls f for every account, in an order that is always the same.
func (c *SourcesConfig) each(f func(flag, source, account string, s Secret) error) error {
	for _, flag := range []struct {
		name, source string
		accounts     map[string]Secret
	}{{"kdniao", "kdniao", c.Kdniao}, {"kuaidi100", "kuaidi100", c.Kuaidi100}, {"source-account", "", c.Accounts}} {
		for _, name := range slices.Sorted(maps.Keys(flag.accounts)) {
			source, account := flag.source, name
			if source == "" {
				source, account, _ = strings.Cut(name, ":")
			}
			if err := f(flag.name, source, account, flag.accounts[name]); err != nil {
				return err
			}
		}
	}
	return nil
}

// check says what is wrong with the accounts, without reading files.
func (c *SourcesConfig) check(bad func(format string, args ...any)) {
	_ = c.each(func(flag, source, account string, _ Secret) error {
		s, known := carrier.Lookup(source)
		switch {
		case !known || s.Push == nil:
			bad("--%s names the source %q, and those that push are %s", flag, source, strings.Join(pushing(), ", "))
		case account == "" || strings.Contains(account, "/"):
			bad("--%s has the account %q of %s, and must be SOURCE:ACCOUNT=SECRET with a name without a slash", flag, account, source)
		}
		return nil
	})
}

// warn says which accounts take what anybody sends.
func (c *SourcesConfig) warn() (w []string) {
	_ = c.each(func(flag, source, account string, s Secret) error {
		if s == "" && source != "kdniao" {
			word := "secret"
			if source == "kuaidi100" {
				word = "salt"
			}
			w = append(w, fmt.Sprintf("--%s account %s has no %s: whoever knows its URL can report events", flag, account, word))
		}
		return nil
	})
	return w
}

func pushing() (codes []string) {
	for _, s := range carrier.Sources() {
		if s.Push != nil {
			codes = append(codes, s.Code)
		}
	}
	return codes
}

// readSecret reads a secret from a file, without the line's end.
func readSecret(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("read its secret: %w", err)
	}
	if info.Size() > maxSecretFile {
		return "", fmt.Errorf("read its secret: %s is larger than %d bytes", path, maxSecretFile)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read its secret: %w", err)
	}
	secret := strings.TrimRight(string(data), "\r\n")
	if secret == "" {
		return "", fmt.Errorf("read its secret: %s is empty", path)
	}
	return secret, nil
}
