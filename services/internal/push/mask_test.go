package push

import (
	"strings"
	"testing"

	"github.com/posthaste/posthaste/services/internal/track"
)

// No form of push holds personal data of a trace that is masked, and the trace
// keeps it.
func TestRender_HidesPersonalDataOfThoseWhoAsk(t *testing.T) {
	t.Parallel()
	tr := &track.Trace{
		Waybill: track.Waybill{Carrier: "sf", Number: "13812340000"}, Revision: 1,
		Events: []track.Event{{
			ID: "a", Kind: track.KindEvent, Revision: 1, Text: "运单13812340000 已由 张三丰 签收，电话 13812345678", Signer: "张三丰", Courier: track.Person{Name: "李小四", Phone: "+8613912345678"},
			ProofURLs: []string{"https://example.com/door.jpg"}, Attributes: map[string]string{"note": "取件码 8-2-4043"},
		}},
		State: track.State{Signer: "张三丰"},
	}
	for _, f := range []Format{JSON, Kdniao, Kuaidi100} {
		got := string(f.Render(Subscription{ID: "sub_1", IncludeTrace: true, Mask: true}, tr, 0))
		for _, secret := range []string{"张三丰", "李小四", "13812345678", "13912345678", "4043", "door"} {
			if strings.Contains(got, secret) {
				t.Errorf("format %d holds %s: %s", f, secret, got)
			}
		}
		if !strings.Contains(got, "13812340000") {
			t.Errorf("format %d lacks the waybill's number: %s", f, got)
		}
		if plain := string(f.Render(Subscription{ID: "sub_1", IncludeTrace: true}, tr, 0)); !strings.Contains(plain, "张三丰") {
			t.Errorf("format %d hides what nobody asked it to: %s", f, plain)
		}
	}
}
