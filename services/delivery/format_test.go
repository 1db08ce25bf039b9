package delivery_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/pg"
	"github.com/posthaste/posthaste/services/internal/push"
	"github.com/posthaste/posthaste/services/internal/testkit"
)

// A platform's format goes out in the platform's form, is repeated to the byte
// until the answer says the word, and is rendered so from its row too.
func TestDelivery_APlatformsPushIsAcknowledgedByItsWord(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		format                  push.Format
		terms, wrong, right     string
		document, sign, callURL string
		signed                  func(document string) string
	}{
		"kdniao": {
			push.Kdniao, `{"order_code":"A-1"}`, `{"Success":false}`, `{" Success":"true"}`, "RequestData", "DataSign", "/cb?a=1",
			func(d string) string { return push.SignKdniao(d, "the key") },
		},
		"kuaidi100": {
			push.Kuaidi100, `{"salt":"pinch","query":"orderId=1&x=%20"}`, `ok`, `{"result":true,"returnCode":"200"}`, "param", "sign", "/cb?a=1&orderId=1&x=%20",
			func(d string) string { return push.SignKuaidi100(d, "pinch") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			rc := testkit.NewReceiver(t)
			b.exec(`INSERT INTO platform_account (platform, account_id, tenant_id, key) VALUES ($1, '1237100', $2, 'the key')`, c.format, tenant)
			policy := pg.RetryPolicy{Delays: []time.Duration{10 * time.Millisecond}}
			b.exec(`INSERT INTO endpoint (id, tenant_id, url, secret, retry_policy, timeout, format, account_id) VALUES ('ep_1', $1, $2, $3, $4, '2 s', $5, '1237100')`,
				tenant, rc.URL+"/cb?a=1", webhook.NewSecret(), policy, c.format)
			b.subscribe("sub_1", "ep_1")
			b.exec(`UPDATE subscription SET terms = $1::text::jsonb`, c.terms)
			b.format, b.terms = c.format, c.terms
			rc.Script(testkit.Status(http.StatusOK), testkit.StatusBody(http.StatusOK, c.wrong))
			rc.Always(testkit.StatusBody(http.StatusOK, c.right, "Content-Type: text/html"))
			stop := b.deliver()
			b.send("sub_1", "ep_1")
			tries := rc.Await(3)
			for _, r := range tries {
				if r.Header.Get("Content-Type") != "application/x-www-form-urlencoded;charset=utf-8" || r.Path != c.callURL || r.Method != http.MethodPost {
					t.Errorf("posted %s to %s", r.Header.Get("Content-Type"), r.Path)
				}
				if string(r.Body) != string(tries[0].Body) {
					t.Error("a repeat says something else")
				}
				form, err := url.ParseQuery(string(r.Body))
				if err != nil {
					t.Fatal(err)
				}
				if document := form.Get(c.document); form.Get(c.sign) != c.signed(document) || !strings.Contains(document, "SUB1") {
					t.Errorf("the form is %v", form)
				}
			}
			b.stored(`SELECT coalesce((SELECT revision = 1 FROM acknowledged WHERE subscription_id = 'sub_1'), false)`)
			b.stored(`SELECT count(*) = 2 FROM attempt WHERE subscription_id = 'sub_1' AND http_status = 200 AND error_class = 'not_acknowledged' AND outcome = 2`)

			// What is owed is rendered from the row, in the same form.
			stop()
			b.happen("sub_1")
			b.exec(`INSERT INTO owed_push (subscription_id, endpoint_id, slot, tenant_id, carrier_code, waybill_number, after_revision, revision, receive_time, next_attempt_time)
				VALUES ('sub_1', 'ep_1', 0, $1, 'sf-express', $2, 1, 2, now(), now())`, tenant, number("sub_1"))
			b.deliver()
			last := rc.Await(4)[3]
			form, err := url.ParseQuery(string(last.Body))
			if err != nil {
				t.Fatal(err)
			}
			if document := form.Get(c.document); form.Get(c.sign) != c.signed(document) || last.Path != c.callURL || strings.Count(document, "运输中") != 2 {
				t.Errorf("the push of the row to %s is %v", last.Path, form)
			}
		})
	}
}
