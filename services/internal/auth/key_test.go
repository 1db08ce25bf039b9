package auth_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/posthaste/posthaste/services/internal/auth"
)

func TestKey_TellsItsIDAndAnyTypingError(t *testing.T) {
	t.Parallel()
	id := auth.NewKeyID(time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC))
	key := auth.NewKey(id)
	got, err := auth.KeyID(key)
	if err != nil || got != id {
		t.Fatalf("the id of a key is %q, %v; want %q", got, err, id)
	}
	for i := range key {
		other := byte('a')
		if key[i] == other {
			other = 'b'
		}
		wrong := key[:i] + string(other) + key[i+1:]
		if _, err := auth.KeyID(wrong); !errors.Is(err, auth.ErrMalformed) {
			t.Errorf("with character %d changed it is taken for a key: %v", i, err)
		}
	}
	for _, wrong := range []string{"", "pk_", key + "a", " " + key, strings.ToUpper(key), key + "\n"} {
		if _, err := auth.KeyID(wrong); !errors.Is(err, auth.ErrMalformed) {
			t.Errorf("%q is taken for a key: %v", wrong, err)
		}
	}
}

func TestKey_IsNeverTheSame(t *testing.T) {
	t.Parallel()
	const many = 1000
	seen := make(map[string]bool, many)
	for range many {
		key := auth.NewKey("0123456789abcdef")
		if seen[key] {
			t.Fatal("two keys are the same")
		}
		seen[key] = true
		if !auth.HashOf(key).Equal(hash(key)) || auth.HashOf(key).Equal(hash(key)[1:]) {
			t.Fatal("a hash doesn't know its key")
		}
	}
}

func hash(key string) []byte {
	h := auth.HashOf(key)
	return h[:]
}

func TestKeyID_SortsByTime(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	last := ""
	for i := range 100 {
		id := auth.NewKeyID(now.Add(time.Duration(i) * time.Millisecond))
		if id <= last {
			t.Fatalf("%s comes after %s", id, last)
		}
		last = id
	}
}

func TestPrincipal_GrantsNoMoreThanItHas(t *testing.T) {
	t.Parallel()
	all := []auth.Role{auth.Admin, auth.Owner, auth.Writer, auth.Reader, auth.Reporter}
	for _, c := range []struct {
		has    auth.Role
		grants []auth.Role
	}{
		{auth.Admin, all},
		{auth.Owner, []auth.Role{auth.Owner, auth.Writer, auth.Reader}},
		{auth.Writer, []auth.Role{auth.Writer, auth.Reader}},
		{auth.Reader, []auth.Role{auth.Reader}},
		{auth.Reporter, []auth.Role{auth.Reporter}},
	} {
		p := auth.Principal{Roles: []auth.Role{c.has}}
		for _, r := range all {
			want := false
			for _, g := range c.grants {
				want = want || g == r
			}
			if got := p.MayGrant(r); got != want {
				t.Errorf("%s may grant %s: %v, want %v", c.has, r, got, want)
			}
		}
		if p.MayGrant(0) || p.MayGrant(99) {
			t.Errorf("%s may grant a role that isn't one", c.has)
		}
	}
}
