package rpc_test

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	"github.com/posthaste/posthaste/services/internal/rpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestError_SaysWhatToDo(t *testing.T) {
	t.Parallel()
	sub := rpc.SubscriptionName("t", "sub_1")
	info := func(reason string, metadata map[string]string) proto.Message {
		return &errdetails.ErrorInfo{Reason: reason, Domain: "posthaste.dev", Metadata: metadata}
	}
	about := func(description string) proto.Message {
		return &errdetails.ResourceInfo{ResourceType: "posthaste.dev/Subscription", ResourceName: sub, Description: description}
	}
	for name, tt := range map[string]struct {
		err     error
		code    codes.Code
		details []proto.Message
	}{
		"not found": {rpc.NotFound(sub), codes.NotFound, []proto.Message{info(rpc.ReasonNotFound, nil), about(sub + " was not found")}},
		"exists":    {rpc.Exists(sub), codes.AlreadyExists, []proto.Message{info(rpc.ReasonExists, nil), about(sub + " exists already")}},
		"wrapped":   {fmt.Errorf("create: %w", rpc.Exists(sub)), codes.AlreadyExists, []proto.Message{info(rpc.ReasonExists, nil), about(sub + " exists already")}},
		"invalid": {rpc.Invalid("endpoint.url", "is missing").And("tail", "is negative"), codes.InvalidArgument, []proto.Message{
			info(rpc.ReasonInvalid, nil),
			&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
				{Field: "endpoint.url", Description: "is missing", Reason: rpc.ReasonInvalid},
				{Field: "tail", Description: "is negative", Reason: rpc.ReasonInvalid},
			}},
		}},
		"conflict": {rpc.Conflict(sub, "it changed"), codes.Aborted, []proto.Message{info(rpc.ReasonConflict, nil), about("it changed")}},
		"state": {rpc.Precondition(sub, "it is cancelled"), codes.FailedPrecondition, []proto.Message{
			info(rpc.ReasonPrecondition, nil), about("it is cancelled"),
			&errdetails.PreconditionFailure{Violations: []*errdetails.PreconditionFailure_Violation{{Type: rpc.ReasonPrecondition, Subject: sub, Description: "it is cancelled"}}},
		}},
		"unavailable": {rpc.Unavailable(2 * time.Second), codes.Unavailable, []proto.Message{
			info(rpc.ReasonUnavailable, nil), &errdetails.RetryInfo{RetryDelay: durationpb.New(2 * time.Second)},
		}},
		"exhausted":     {rpc.Exhausted(0, "too many endpoints").With("limit", "5"), codes.ResourceExhausted, []proto.Message{info(rpc.ReasonExhausted, map[string]string{"limit": "5"})}},
		"another again": {rpc.RequestIDReused(), codes.AlreadyExists, []proto.Message{info(rpc.ReasonRequestIDReused, nil)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := status.Convert(tt.err)
			if st.Code() != tt.code {
				t.Errorf("code is %s, want %s", st.Code(), tt.code)
			}
			var got []proto.Message
			for _, d := range st.Details() {
				m, ok := d.(proto.Message)
				if !ok {
					t.Fatalf("detail is %v", d)
				}
				got = append(got, m)
			}
			if diff := cmp.Diff(tt.details, got, protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
			if i, ok := got[0].(*errdetails.ErrorInfo); !ok || rpc.Reasons[i.GetReason()] == "" {
				t.Errorf("its reason is not explained: %v", got[0])
			}
		})
	}
}

func TestError_ShowsItsCauseToLogsOnly(t *testing.T) {
	t.Parallel()
	cause := errors.New("password of the database is swordfish")
	err := rpc.Internal(cause)
	if !errors.Is(err, cause) || !strings.Contains(err.Error(), "swordfish") {
		t.Errorf("the log gets %q", err)
	}
	if text := fmt.Sprint(err.GRPCStatus().Proto()); strings.Contains(text, "swordfish") {
		t.Errorf("the caller gets %s", text)
	}
}

func TestNames_SurviveARoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		carrier := rapid.StringMatching(`[a-z0-9_-]{2,40}`).Draw(t, "carrier")
		number := rapid.StringMatching(`[!-~一-龥]{4,64}`).Draw(t, "number")
		name := rpc.WaybillName(carrier, number)
		c, n, err := rpc.ParseWaybillName(name)
		if err != nil || c != carrier || n != number {
			t.Fatalf("%q gave %q, %q, %v", name, c, n, err)
		}
		tenant, id := rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,39}`).Draw(t, "tenant"), rapid.StringMatching(`[a-z]{2,3}_[0-9a-f]{32}`).Draw(t, "id")
		if a, b, err := rpc.ParseEndpointName(rpc.EndpointName(tenant, id)); err != nil || a != tenant || b != id {
			t.Fatal(a, b, err)
		}
		if a, b, err := rpc.ParseSubscriptionName(rpc.SubscriptionName(tenant, id)); err != nil || a != tenant || b != id {
			t.Fatal(a, b, err)
		}
		if a, err := rpc.ParseTenantName(rpc.TenantName(tenant)); err != nil || a != tenant {
			t.Fatal(a, err)
		}
	})
}

func TestNames_ArePlainWherePossible(t *testing.T) {
	t.Parallel()
	for number, want := range map[string]string{"SF1234567890": "waybills/sf/SF1234567890", "A/B%1": "waybills/sf/A%2FB%251"} {
		if got := rpc.WaybillName("sf", number); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestNames_RefuseWhatCannotBe(t *testing.T) {
	t.Parallel()
	parsers := map[string]func(string) error{
		"tenant":       func(s string) error { _, err := rpc.ParseTenantName(s); return err },
		"endpoint":     func(s string) error { _, _, err := rpc.ParseEndpointName(s); return err },
		"subscription": func(s string) error { _, _, err := rpc.ParseSubscriptionName(s); return err },
		"waybill":      func(s string) error { _, _, err := rpc.ParseWaybillName(s); return err },
	}
	for kind, names := range map[string][]string{
		"tenant":       {"", "tenants", "tenants/", "tenants/A", "tenants/" + strings.Repeat("a", 41), "tenant/a", "tenants/a/b"},
		"endpoint":     {"tenants/t/subscriptions/x", "tenants/t/endpoints/", "tenants//endpoints/x", "tenants/t/endpoints/a b", "tenants/t/endpoints/x/"},
		"subscription": {"tenants/t/endpoints/x", "subscriptions/x", "tenants/t/subscriptions/" + strings.Repeat("x", 65)},
		"waybill":      {"waybills/sf", "waybills/SF/12345", "waybills/sf/123", "waybills/sf/" + strings.Repeat("1", 65), "waybills/sf/A%ZZ1", "waybills/sf/AB%201", "waybills/sf/A%00BC", "waybills/sf/AB/CD", "waybills/s/12345", "waybills/sf/%FF%FF%FF%FF"},
	} {
		for _, name := range names {
			if err := parsers[kind](name); err == nil {
				t.Errorf("%s: %q was taken", kind, name)
			} else if !strings.Contains(err.Error(), fmt.Sprintf("%q", name)) {
				t.Errorf("%s: the error doesn't show the name: %v", kind, err)
			}
		}
	}
}

func TestResourceType_KnowsItsNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		rpc.TenantName("t"): "posthaste.dev/Tenant", rpc.EndpointName("t", "e"): "posthaste.dev/Endpoint",
		rpc.SubscriptionName("t", "s"): "posthaste.dev/Subscription", rpc.WaybillName("sf", "tenants/x"): "posthaste.dev/Waybill", "": "", "x": "",
	} {
		if got := rpc.ResourceType(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

func TestPageToken_SurvivesARoundTripAndBindsItsFilter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOfN(rapid.String(), 1, 4).Draw(t, "key")
		filter := rpc.FilterHash(rapid.SliceOf(rapid.String()).Draw(t, "filter")...)
		token := rpc.EncodePageToken(filter, key...)
		got, err := rpc.DecodePageToken(token, filter, len(key))
		if err != nil || !slices.Equal(got, key) {
			t.Fatalf("got %q, %v", got, err)
		}
		if token != url.QueryEscape(token) {
			t.Fatalf("%q must be escaped in URLs", token)
		}
		for _, tt := range []struct {
			token, filter string
			n             int
		}{
			{token, rpc.FilterHash("another"), len(key)}, {token, filter, len(key) + 1}, {token[:len(token)-1], filter, len(key)}, {"x" + token, filter, len(key)}, {"!", filter, len(key)},
		} {
			_, err := rpc.DecodePageToken(tt.token, tt.filter, tt.n)
			var e *rpc.Error
			if !errors.As(err, &e) || e.Reason != rpc.ReasonPageTokenInvalid || e.Code != codes.InvalidArgument {
				t.Fatalf("%+v gave %v", tt, err)
			}
		}
	})
	if key, err := rpc.DecodePageToken("", rpc.FilterHash(), 2); key != nil || err != nil {
		t.Errorf("the first page gave %v, %v", key, err)
	}
	if rpc.FilterHash("ab", "c") == rpc.FilterHash("a", "bc") {
		t.Error("different filters have one hash")
	}
}

func FuzzDecodePageToken(f *testing.F) {
	filter := rpc.FilterHash("f")
	f.Add(rpc.EncodePageToken(filter, "a", "b"))
	f.Add("")
	f.Fuzz(func(t *testing.T, token string) {
		key, err := rpc.DecodePageToken(token, filter, 2)
		if err == nil && token != "" && len(key) != 2 {
			t.Errorf("got %q without an error", key)
		}
	})
}

func TestPageSize_StaysInItsLimits(t *testing.T) {
	t.Parallel()
	for in, want := range map[int32]int{0: 100, 1: 1, 1000: 1000, 5000: 1000} {
		if got, err := rpc.PageSize(in); err != nil || got != want {
			t.Errorf("%d: got %d, %v", in, got, err)
		}
	}
	if _, err := rpc.PageSize(-1); err == nil {
		t.Error("a negative size was taken")
	}
}
