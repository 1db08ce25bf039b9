package e2e

import (
	"context"
	"errors"
	"maps"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/pkg/trace"
	"github.com/posthaste/posthaste/services/internal/rpc"
)

// refusing answers every call with one error.
type refusing struct {
	trackingv1.UnimplementedWaybillServiceServer
	err *rpc.Error
}

func (r refusing) GetWaybill(context.Context, *trackingv1.GetWaybillRequest) (*trackingv1.GetWaybillResponse, error) {
	return nil, r.err.GRPCStatus().Err()
}

// TestErrors_SurviveTheWire walks every error that services make to what users
// of the client see.
func TestErrors_SurviveTheWire(t *testing.T) {
	t.Parallel()
	const name = "tenants/default/endpoints/ep_1"
	const op = "get waybill sf/SF100"
	untold := maps.Clone(rpc.Reasons)
	for _, tt := range []struct {
		err  *rpc.Error
		kind error
		want client.Error
	}{
		{rpc.NotFound(name), client.ErrNotFound, client.Error{Reason: rpc.ReasonNotFound, Message: name + " was not found", Resource: name}},
		{rpc.Exists(name), client.ErrAlreadyExists, client.Error{Reason: rpc.ReasonExists, Message: name + " exists already", Resource: name}},
		{rpc.RequestIDReused(), client.ErrAlreadyExists, client.Error{Reason: rpc.ReasonRequestIDReused, Message: "the request_id was used for another request"}},
		{rpc.Invalid("a", "is wrong").And("b", "is too"), client.ErrInvalid, client.Error{
			Reason: rpc.ReasonInvalid, Message: "a: is wrong; b: is too",
			Fields: []client.FieldViolation{{Field: "a", Description: "is wrong"}, {Field: "b", Description: "is too"}},
		}},
		{rpc.Invalid("page_token", "is damaged").WithReason(rpc.ReasonPageTokenInvalid), client.ErrInvalid, client.Error{
			Reason: rpc.ReasonPageTokenInvalid, Message: "page_token: is damaged",
			Fields: []client.FieldViolation{{Field: "page_token", Description: "is damaged"}},
		}},
		{rpc.Invalid("after_revision", "is too old").WithReason(rpc.ReasonResumeExpired), client.ErrInvalid, client.Error{
			Reason: rpc.ReasonResumeExpired, Message: "after_revision: is too old",
			Fields: []client.FieldViolation{{Field: "after_revision", Description: "is too old"}},
		}},
		{rpc.Conflict(name, "it changed"), client.ErrConflict, client.Error{Reason: rpc.ReasonConflict, Message: "it changed", Resource: name}},
		{rpc.Precondition(name, "it is in use").With("subscriptions", "3"), client.ErrPrecondition, client.Error{
			Reason: rpc.ReasonPrecondition, Message: "it is in use", Resource: name, Metadata: map[string]string{"subscriptions": "3"},
		}},
		{rpc.Exhausted(time.Minute, "too many"), client.ErrResourceExhausted, client.Error{Reason: rpc.ReasonExhausted, Message: "too many", RetryAfter: time.Minute}},
		{rpc.Unavailable(time.Second), client.ErrUnavailable, client.Error{Reason: rpc.ReasonUnavailable, Message: "temporarily unavailable, try again", RetryAfter: time.Second}},
		{rpc.Unauthenticated("the key is not valid"), client.ErrUnauthenticated, client.Error{Reason: rpc.ReasonUnauthenticated, Message: "the key is not valid"}},
		{rpc.Forbidden("the key may not"), client.ErrPermissionDenied, client.Error{Reason: rpc.ReasonForbidden, Message: "the key may not"}},
		{rpc.Forbidden("the tenant is disabled").WithReason(rpc.ReasonTenantDisabled), client.ErrPermissionDenied, client.Error{
			Reason: rpc.ReasonTenantDisabled, Message: "the tenant is disabled",
		}},
		{rpc.Internal(errors.New("password is hunter2")), client.ErrInternal, client.Error{Reason: rpc.ReasonInternal, Message: "internal error"}},
	} {
		delete(untold, tt.err.Reason)
		t.Run(tt.err.Reason, func(t *testing.T) {
			t.Parallel()
			c := dialInMemory(t, refusing{err: tt.err})
			_, err := c.GetWaybill(t.Context(), trace.ID{CarrierCode: "sf", WaybillNumber: "SF100"})
			if !errors.Is(err, tt.kind) {
				t.Errorf("error is %v, want %v", err, tt.kind)
			}
			got, ok := errors.AsType[*client.Error](err)
			if !ok {
				t.Fatalf("error is a %T", err)
			}
			tt.want.Op = op
			if diff := cmp.Diff(tt.want, *got, cmp.FilterPath(func(p cmp.Path) bool {
				return p.Last().String() == ".code" || p.Last().String() == ".kind"
			}, cmp.Ignore())); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
	for reason := range untold {
		t.Errorf("%s isn't among the errors walked here", reason)
	}
}

func dialInMemory(t *testing.T, waybills trackingv1.WaybillServiceServer) *client.Client {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer()
	trackingv1.RegisterWaybillServiceServer(server, waybills)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	c, err := client.Dial("passthrough:///memory", client.WithoutTLS(), client.WithDialOptions(
		grpc.WithDisableRetry(),
		grpc.WithDisableHealthCheck(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
	))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		server.Stop()
		<-served
	})
	return c
}
