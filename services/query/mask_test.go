package query

import (
	"strings"
	"testing"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
)

func TestShown_HidesPersonalDataFromTenantsThatMayNotHaveIt(t *testing.T) {
	t.Parallel()
	for _, masked := range []bool{true, false} {
		w := New(Config{Mask: func(string) bool { return masked }})
		u := w.shown(t.Context(), &trackingv1.TraceUpdate{
			Waybill: &trackingv1.Waybill{WaybillNumber: "773123456789012", Signer: "张三丰"},
			Events: []*trackingv1.TraceEvent{{
				Text: "773123456789012 已由 张三丰 签收，电话 13812345678", Signer: "张三丰", Courier: &trackingv1.Person{Name: "李四海", Phone: "13912345678"},
				ProofUrls: []string{"https://example.com/door.jpg"}, Location: &trackingv1.Location{Text: "联系人：王五六"}, Attributes: map[string]string{"note": "13812345678"},
			}},
		})
		text := u.String()
		for _, secret := range []string{"张三丰", "13812345678", "李四海", "13912345678", "door.jpg", "王五六"} {
			if strings.Contains(text, secret) == masked {
				t.Errorf("masked %t, it shows %s: %t", masked, secret, !masked)
			}
		}
		if !strings.Contains(u.GetEvents()[0].GetText(), "773123456789012") {
			t.Error("the waybill's number is hidden")
		}
	}
}
