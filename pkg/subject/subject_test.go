package subject_test

import (
	"strings"
	"testing"

	"github.com/posthaste/posthaste/pkg/subject"
)

func TestBundle_StaysWithTheSameReader(t *testing.T) {
	t.Parallel()
	for _, shards := range []int{1, 2, 3, 8, 64} {
		for s := range subject.Slots {
			from := subject.SlotsOf("raw", []subject.Slot{subject.Slot(s)})[0]
			from = strings.TrimSuffix(from, ">") + "kdniao"
			want := strings.TrimSuffix(subject.SlotsOf("raw", []subject.Slot{subject.Slot(s % shards)})[0], ">") + "bundle"
			if got := subject.Bundle(from, shards); got != want {
				t.Errorf("%s by %d is %s, want %s", from, shards, got, want)
			}
		}
	}
	for _, other := range []string{"", "elsewhere", "posthaste.v1.rejected", "posthaste.v1.raw.xx.kdniao"} {
		if got := subject.Bundle(other, 2); got != other {
			t.Errorf("%q became %q", other, got)
		}
	}
}

func TestEscape_IsReadBack(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "SF1000", "a.b", "顺丰", "=", "x y>*"} {
		token := subject.Escape(s)
		if strings.ContainsAny(token, ".*> ") || token == "" {
			t.Errorf("%q is not one token", token)
		}
		if back, err := subject.Unescape(token); err != nil || back != s {
			t.Errorf("%q came back as %q, %v", s, back, err)
		}
	}
	carrier, waybill, err := subject.ParseTrace(subject.Trace("sf-express", "a.b"))
	if err != nil || carrier != "sf-express" || waybill != "a.b" {
		t.Errorf("a trace's subject was read as %q, %q, %v", carrier, waybill, err)
	}
}
