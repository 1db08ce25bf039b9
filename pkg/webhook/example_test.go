package webhook_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/posthaste/posthaste/pkg/payload"
	"github.com/posthaste/posthaste/pkg/webhook"
)

// A receiver that keeps how far it has got with each subscription. A real one
// keeps it in the database, in the transaction that stores the events.
func Example() {
	secret, err := webhook.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		fmt.Println(err)
		return
	}
	chains := make(map[string]*webhook.Chain)
	receiver := webhook.Handler(&webhook.Verifier{Secrets: []webhook.Secret{secret}},
		func(_ context.Context, p payload.Push) error {
			chain, ok := chains[p.SubscriptionID]
			if !ok {
				chain = &webhook.Chain{}
				chains[p.SubscriptionID] = chain
			}
			events := chain.New(p)
			fmt.Printf("%s after %d: %s\n", p.PushID, p.AfterRevision, chain.Advance(p))
			for _, e := range events {
				fmt.Printf("  %s %s %s\n", e.LocalTime, e.Status, e.Text)
			}
			return nil
		})
	server := httptest.NewServer(receiver)
	defer server.Close()

	// What Posthaste does, twice: the first answer got lost.
	p := payload.Push{
		Type: payload.TypeTraceUpdated, PushID: "psh_1_1", SubscriptionID: "sub_1", TenantID: "default", Revision: 1,
		Waybill: payload.Waybill{CarrierCode: "sf", WaybillNumber: "SF100", Revision: 1, Status: "picked_up"},
		Events:  []payload.Event{{ID: "e1", Kind: "event", Revision: 1, LocalTime: "2025-03-01T10:02:11", Status: "picked_up", Text: "已揽收"}},
	}
	body := p.AppendJSON(nil)
	for range 2 {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, server.URL, bytes.NewReader(body))
		if err != nil {
			fmt.Println(err)
			return
		}
		webhook.SetHeaders(req.Header, p.PushID, time.Now(), body, secret)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			fmt.Println(err)
			return
		}
		_ = resp.Body.Close()
		fmt.Println(resp.Status)
	}
	// Output:
	// psh_1_1 after 0: continues
	//   2025-03-01T10:02:11 picked_up 已揽收
	// 204 No Content
	// psh_1_1 after 0: repeats
	// 204 No Content
}

func ExampleVerifier_Verify() {
	secret, err := webhook.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		fmt.Println(err)
		return
	}
	header := http.Header{}
	header.Set("webhook-id", "psh_1_1")
	header.Set("webhook-timestamp", "1740794531")
	header.Set("webhook-signature", webhook.Sign(secret, "psh_1_1", time.Unix(1740794531, 0), []byte("{}")))

	v := webhook.Verifier{Secrets: []webhook.Secret{secret}, Now: func() time.Time { return time.Unix(1740794600, 0) }}
	fmt.Println(v.Verify(header, []byte("{}")))
	fmt.Println(v.Verify(header, []byte(`{"changed":true}`)))
	// Output:
	// <nil>
	// webhook signature doesn't match
}

// While a key is being rotated, or a receiver changes over to Ed25519, a push is
// signed with all keys that are alive. The receiver needs one of them.
func ExampleSigners() {
	secret, err := webhook.ParseSigner("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		fmt.Println(err)
		return
	}
	private, err := webhook.ParseSigner("whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==")
	if err != nil {
		fmt.Println(err)
		return
	}
	sent, body := time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`)
	header := http.Header{}
	webhook.SetHeaders(header, "msg_p5jXN8AQM9LWM0D4loKWxJek", sent, body, webhook.Signers{private, secret})
	for entry := range strings.FieldsSeq(header.Get("webhook-signature")) {
		fmt.Println(entry)
	}

	public, err := webhook.ParsePublicKey("whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=")
	if err != nil {
		fmt.Println(err)
		return
	}
	v := webhook.Verifier{PublicKeys: []webhook.PublicKey{public}, Now: func() time.Time { return sent }}
	fmt.Println(v.Verify(header, body))
	// Output:
	// v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==
	// v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=
	// <nil>
}

func ExamplePrivateKey() {
	key, err := webhook.ParsePrivateKey("whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(key)
	fmt.Println(key.Public())
	// Output:
	// whsk_***
	// whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=
}

func ExampleDecode() {
	p, err := webhook.Decode([]byte(`{"type":"trace.updated","push_id":"psh_1_4","subscription_id":"sub_1","after_revision":2,"revision":4,
		"waybill":{"carrier_code":"sf","waybill_number":"SF100","status":"delivered","status_name":{"en":"Delivered","zh":"已签收"}}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.Waybill.WaybillNumber, p.Waybill.StatusName.English, p.Waybill.StatusName.Chinese)
	// Output: SF100 Delivered 已签收
}
