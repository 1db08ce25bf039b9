package app

import (
	"log/slog"
	"net/url"
	"strings"
)

const hidden = "***"

// Secret is a value that is never shown: it prints as "***", in logs, errors and
// configuration alike.
type Secret string

// String hides the value.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// GoString hides the value from %#v.
func (s Secret) GoString() string { return s.String() }

// LogValue hides the value from logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the value from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Reveal returns the value.
func (s Secret) Reveal() string { return string(s) }

// SecretURL is an address that may hold a password; that part is never shown.
type SecretURL string

// String hides the password.
func (s SecretURL) String() string {
	// Several servers may be given, separated by commas.
	parts := strings.Split(string(s), ",")
	for i, p := range parts {
		parts[i] = hidePassword(p)
	}
	return strings.Join(parts, ",")
}

func hidePassword(text string) string {
	if text == "" {
		return ""
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" {
		return hidden // a form we can't take apart
	}
	if u.User != nil {
		if _, has := u.User.Password(); has {
			u.User = url.UserPassword(u.User.Username(), hidden)
		} else if u.Scheme == "nats" || u.Scheme == "tls" {
			u.User = url.User(hidden) // a token
		}
	}
	q := u.Query()
	for name := range q {
		if strings.Contains(strings.ToLower(name), "password") {
			q.Set(name, hidden)
			u.RawQuery = q.Encode()
		}
	}
	return strings.ReplaceAll(u.String(), "%2A%2A%2A", hidden)
}

// GoString hides the password from %#v.
func (s SecretURL) GoString() string { return s.String() }

// LogValue hides the password from logs.
func (s SecretURL) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the password from encoders.
func (s SecretURL) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Reveal returns the address.
func (s SecretURL) Reveal() string { return string(s) }
