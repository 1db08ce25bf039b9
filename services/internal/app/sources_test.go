package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSources_AccountsComeFromFlagsAndFiles(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("from a file=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := parse(t, "--kdniao=1=key", "--kuaidi100=shop=", "--source-account=fedex:shop=@"+file+";zto:co=a=b;zto:co2=c;kdniao:2=other")
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Sources.accounts()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]map[string]string{
		"kdniao": {"1": "key", "2": "other"}, "kuaidi100": {"shop": ""}, "fedex": {"shop": "from a file="}, "zto": {"co": "a=b", "co2": "c"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if w := strings.Join(c.Warnings(), "\n"); !strings.Contains(w, "--kuaidi100 account shop has no salt") || strings.Contains(w, "zto") {
		t.Errorf("the warnings are %q", w)
	}
}

func TestSources_SayWhatIsWrongWithAccounts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ flag, want string }{
		{"--source-account=nobody:a=b", `"nobody"`},
		{"--source-account=tnt:a=b", `"tnt"`},
		{"--source-account=sf=b", "SOURCE:ACCOUNT=SECRET"},
		{"--source-account=sf:a/b=c", "without a slash"},
		{"--source-account=sf:a=@/nowhere/at/all", "account a"},
		{"--source-account=kdniao:1=x", "given twice"},
	} {
		c, err := parse(t, "--kdniao=1=key", tt.flag)
		if err == nil {
			err = c.Validate()
		}
		if err == nil {
			_, err = c.Sources.accounts()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.flag, err)
		}
	}
}
