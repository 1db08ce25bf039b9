package subscription_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	subscriptionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/subscription/v1"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

const (
	hmac    = subscriptionv1.SignatureScheme_SIGNATURE_SCHEME_HMAC_SHA256
	ed25519 = subscriptionv1.SignatureScheme_SIGNATURE_SCHEME_ED25519
)

func (c *control) rotate(req *subscriptionv1.RotateSecretRequest) (*subscriptionv1.Endpoint, error) {
	resp, err := c.endpoints.RotateSecret(c.t.Context(), req)
	return resp.GetEndpoint(), err
}

func (c *control) read(name string) *subscriptionv1.Endpoint {
	c.t.Helper()
	resp, err := c.endpoints.GetEndpoint(c.t.Context(), &subscriptionv1.GetEndpointRequest{Name: name})
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.GetEndpoint()
}

func TestRotateSecret_KeepsTheOldKeyForTheOverlap(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	made := c.endpoint()
	req := &subscriptionv1.RotateSecretRequest{Name: made.GetName(), RequestId: "r1"}
	before := c.clock.Now()
	got, err := c.rotate(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := webhook.ParseSecret(got.GetSecret()); err != nil || got.GetSecret() == made.GetSecret() {
		t.Errorf("the new secret is %q: %v", got.GetSecret(), err)
	}
	if left := got.GetOldSecretExpireTime().AsTime().Sub(before); left < 24*time.Hour || left > 24*time.Hour+time.Minute {
		t.Errorf("the old key is live for %s, want a day", left)
	}
	again, err := c.rotate(req)
	if err != nil || again.GetSecret() != got.GetSecret() {
		t.Errorf("a repeat gave another secret, or %v", err)
	}
	if _, err := c.rotate(&subscriptionv1.RotateSecretRequest{Name: made.GetName(), RequestId: "r1", Overlap: durationpb.New(time.Hour)}); reasonOf(err) != rpc.ReasonRequestIDReused {
		t.Errorf("another request with the id gave %v", err)
	}
	if read := c.read(made.GetName()); read.GetSecret() != "" || read.GetOldSecretExpireTime() == nil {
		t.Errorf("read back %v", read)
	}
	// A second rotation would cut the overlap of the first short.
	if _, err := c.rotate(&subscriptionv1.RotateSecretRequest{Name: made.GetName()}); reasonOf(err) != rpc.ReasonPrecondition {
		t.Errorf("a rotation in the overlap gave %v", err)
	}
	c.clock.advance(25 * time.Hour)
	if read := c.read(made.GetName()); read.GetOldSecretExpireTime() != nil {
		t.Errorf("the old key is live after its time: %v", read)
	}
	if _, err := c.rotate(&subscriptionv1.RotateSecretRequest{Name: made.GetName()}); err != nil {
		t.Errorf("a rotation after the overlap gave %v", err)
	}
	// One for a key that has leaked drops all at once, also in an overlap.
	got, err = c.rotate(&subscriptionv1.RotateSecretRequest{Name: made.GetName(), Overlap: durationpb.New(0)})
	if err != nil || got.GetOldSecretExpireTime() != nil {
		t.Errorf("a rotation without overlap gave %v, %v", got, err)
	}
}

func TestRotateSecret_ChangesTheScheme(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	made := c.endpoint()
	got, err := c.rotate(&subscriptionv1.RotateSecretRequest{Name: made.GetName(), SignatureScheme: ed25519})
	if err != nil {
		t.Fatal(err)
	}
	if got.GetSecret() != "" || got.GetSignatureScheme() != ed25519 || len(got.GetPublicKeys()) != 1 {
		t.Errorf("got %v", got)
	}
	if _, err := webhook.ParsePublicKey(got.GetPublicKeys()[0]); err != nil {
		t.Error(err)
	}
	c.clock.advance(25 * time.Hour)
	// The scheme stays, and both public keys are shown for as long as both sign.
	second, err := c.rotate(&subscriptionv1.RotateSecretRequest{Name: made.GetName()})
	if err != nil {
		t.Fatal(err)
	}
	if keys := second.GetPublicKeys(); second.GetSignatureScheme() != ed25519 || len(keys) != 2 || keys[1] != got.GetPublicKeys()[0] {
		t.Errorf("got %v", second)
	}
}

func TestEndpoint_CanBeMadeWithEitherScheme(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	made := c.endpoint(func(e *subscriptionv1.Endpoint) { e.SignatureScheme = ed25519 })
	if made.GetSecret() != "" || made.GetSignatureScheme() != ed25519 || len(made.GetPublicKeys()) != 1 {
		t.Errorf("got %v", made)
	}
	given := webhook.NewPrivateKey()
	key, err := webhook.ParsePrivateKey(given)
	if err != nil {
		t.Fatal(err)
	}
	made = c.endpoint(func(e *subscriptionv1.Endpoint) { e.Secret = given })
	if made.GetSecret() != "" || made.GetSignatureScheme() != ed25519 || made.GetPublicKeys()[0] != key.Public().String() {
		t.Errorf("a given private key made %v", made)
	}
	_, err = c.endpoints.CreateEndpoint(t.Context(), &subscriptionv1.CreateEndpointRequest{
		Parent: tenant, Endpoint: &subscriptionv1.Endpoint{Url: "https://callback.example/", Secret: given, SignatureScheme: hmac},
	})
	if got := fieldsOf(t, err); len(got) != 1 || got[0] != "endpoint.signature_scheme" {
		t.Errorf("a key of another scheme gave %v", got)
	}
}

func TestRotateSecret_RefusesWhatIsWrongAndNamesTheField(t *testing.T) {
	t.Parallel()
	c := newControl(t)
	secret := webhook.NewSecret()
	made := c.endpoint(func(e *subscriptionv1.Endpoint) { e.Secret = secret })
	for field, req := range map[string]*subscriptionv1.RotateSecretRequest{
		"name":             {Name: "endpoints/1"},
		"secret":           {Name: made.GetName(), Secret: "whpk_AAAA"},
		"overlap":          {Name: made.GetName(), Overlap: durationpb.New(-time.Second)},
		"signature_scheme": {Name: made.GetName(), SignatureScheme: 9},
	} {
		_, err := c.rotate(req)
		if got := fieldsOf(t, err); len(got) != 1 || got[0] != field {
			t.Errorf("%s: the fields are %v", field, got)
		}
	}
	if _, err := c.rotate(&subscriptionv1.RotateSecretRequest{Name: made.GetName(), Secret: secret}); reasonOf(err) != rpc.ReasonInvalid {
		t.Errorf("the present key gave %v", err)
	}
	if _, err := c.rotate(&subscriptionv1.RotateSecretRequest{Name: rpc.EndpointName("acme", "ep_none")}); reasonOf(err) != rpc.ReasonNotFound {
		t.Errorf("an unknown endpoint gave %v", err)
	}
}
