package push

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"pgregory.net/rapid"

	"github.com/posthaste/posthaste/pkg/webhook"
)

// TestSignature_AgreesWithStandardWebhooks holds pkg/webhook, whose tests use
// the standard library alone, to the reference implementation: what one signs,
// the other accepts, and what one refuses, the other does too.
func TestSignature_AgreesWithStandardWebhooks(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := "whsec_" + base64.StdEncoding.EncodeToString(rapid.SliceOfN(rapid.Byte(), 24, 64).Draw(t, "key"))
		secret, err := webhook.ParseSecret(text)
		if err != nil {
			t.Fatal(err)
		}
		reference, err := standardwebhooks.NewWebhook(text)
		if err != nil {
			t.Fatal(err)
		}
		id := rapid.StringMatching(`psh_[0-9a-f]{1,32}_[0-9]{1,4}`).Draw(t, "id")
		sent := time.Unix(rapid.Int64Range(0, 1<<40).Draw(t, "sent"), 0)
		body := rapid.SliceOf(rapid.Byte()).Draw(t, "body")

		want, err := reference.Sign(id, sent, body)
		if err != nil {
			t.Fatal(err)
		}
		if got := webhook.Sign(secret, id, sent, body); got != want {
			t.Fatalf("signature is %s, want %s", got, want)
		}

		// One change, or none: of the body, the id, the time or the signature.
		h := http.Header{}
		webhook.SetHeaders(h, id, sent, body, secret)
		switch rapid.IntRange(0, 4).Draw(t, "change") {
		case 1:
			body = append([]byte{0}, body...)
		case 2:
			h.Set(webhook.HeaderID, id+"0")
		case 3:
			h.Set(webhook.HeaderTimestamp, strconv.FormatInt(sent.Unix()+1, 10))
		case 4:
			h.Set(webhook.HeaderSignature, "v1,"+base64.StdEncoding.EncodeToString(make([]byte, 32)))
		}
		v := webhook.Verifier{Secrets: []webhook.Secret{secret}, Now: func() time.Time { return sent }}
		ours, theirs := v.Verify(h, body), reference.VerifyIgnoringTimestamp(body, h)
		if (ours == nil) != (theirs == nil) {
			t.Fatalf("we say %v, the reference says %v", ours, theirs)
		}
	})
}
