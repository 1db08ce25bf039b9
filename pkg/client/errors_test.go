package client_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/posthaste/posthaste/pkg/client"
	"github.com/posthaste/posthaste/pkg/trace"
)

var sentinels = []error{
	client.ErrInvalid, client.ErrNotFound, client.ErrAlreadyExists, client.ErrPrecondition, client.ErrConflict, client.ErrResourceExhausted,
	client.ErrUnavailable, client.ErrUnauthenticated, client.ErrPermissionDenied, client.ErrUnimplemented, client.ErrInternal,
	context.Canceled, context.DeadlineExceeded,
}

func TestError_EveryCodeIsOneSentinel(t *testing.T) {
	t.Parallel()
	for code, want := range map[codes.Code]error{
		codes.Canceled:           context.Canceled,
		codes.Unknown:            client.ErrInternal,
		codes.InvalidArgument:    client.ErrInvalid,
		codes.DeadlineExceeded:   context.DeadlineExceeded,
		codes.NotFound:           client.ErrNotFound,
		codes.AlreadyExists:      client.ErrAlreadyExists,
		codes.PermissionDenied:   client.ErrPermissionDenied,
		codes.ResourceExhausted:  client.ErrResourceExhausted,
		codes.FailedPrecondition: client.ErrPrecondition,
		codes.Aborted:            client.ErrConflict,
		codes.OutOfRange:         client.ErrInvalid,
		codes.Unimplemented:      client.ErrUnimplemented,
		codes.Internal:           client.ErrInternal,
		codes.Unavailable:        client.ErrUnavailable,
		codes.DataLoss:           client.ErrInternal,
		codes.Unauthenticated:    client.ErrUnauthenticated,
		codes.Code(99):           client.ErrInternal,
	} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			f := known("SF100", 1)
			f.fail = func(string) error { return status.Error(code, "what is wrong") }
			c := dial(t, f, client.WithDialOptions(grpc.WithDisableRetry()))
			_, err := c.GetWaybill(t.Context(), trace.ID{CarrierCode: "sf", WaybillNumber: "SF100"})
			for _, s := range sentinels {
				if got, want := errors.Is(err, s), errors.Is(want, s); got != want {
					t.Errorf("is %q: %t, want %t", s, got, want)
				}
			}
			if got := err.Error(); got != "get waybill sf/SF100: what is wrong" {
				t.Errorf("error is %q", got)
			}
			if got := status.Code(err); got != code {
				t.Errorf("code is %v, want %v", got, code)
			}
		})
	}
}

func TestError_TellsTheServersDetails(t *testing.T) {
	t.Parallel()
	f := &fake{}
	f.fail = func(string) error {
		st, err := status.New(codes.InvalidArgument, "endpoint.url: it is required").WithDetails(
			&errdetails.ErrorInfo{Reason: "INVALID_ARGUMENT", Domain: "posthaste.dev", Metadata: map[string]string{"limit": "7"}},
			&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
				{Field: "endpoint.url", Description: "it is required"}, {Field: "endpoint.timeout", Description: "it is too long"},
			}},
			&errdetails.ResourceInfo{ResourceName: "tenants/default"},
			&errdetails.RetryInfo{RetryDelay: durationpb.New(3 * time.Second)},
			&errdetails.Help{},
		)
		if err != nil {
			panic(err)
		}
		return st.Err()
	}
	_, err := dial(t, f).CreateEndpoint(t.Context(), client.NewEndpoint{})
	e, ok := errors.AsType[*client.Error](err)
	if !ok {
		t.Fatalf("error is %T %v", err, err)
	}
	if e.Op != "create endpoint" || e.Reason != "INVALID_ARGUMENT" || e.Metadata["limit"] != "7" || e.Resource != "tenants/default" || e.RetryAfter != 3*time.Second {
		t.Errorf("error is %+v", e)
	}
	if want := []client.FieldViolation{{"endpoint.url", "it is required"}, {"endpoint.timeout", "it is too long"}}; !reflect.DeepEqual(e.Fields, want) {
		t.Errorf("fields are %v, want %v", e.Fields, want)
	}
}

func TestError_OfThisSide(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := dial(t, known("SF100", 1))
	if _, err := c.GetWaybill(ctx, trace.ID{CarrierCode: "sf", WaybillNumber: "SF100"}); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want %v", err, context.Canceled)
	}
	// Text that isn't UTF-8 can't be sent.
	_, err := c.ReportEvents(t.Context(), []client.ReportedEvent{{Text: "\xff"}})
	if err == nil || !strings.HasPrefix(err.Error(), "report events: ") {
		t.Errorf("error is %v", err)
	}
}

func TestCall_IsTriedAgainWithTheSameRequestID(t *testing.T) {
	t.Parallel()
	f := &fake{}
	calls := 0
	f.fail = func(string) error {
		if calls++; calls < 3 {
			return status.Error(codes.Unavailable, "not yet")
		}
		return nil
	}
	if _, err := dial(t, f).CreateEndpoint(t.Context(), client.NewEndpoint{URL: "https://example.com"}); err != nil {
		t.Fatal(err)
	}
	if calls != 3 || len(f.requestIDs) != 1 || len(keys(f.requestIDs)[0]) < 20 {
		t.Errorf("%d calls with request ids %v, want 3 with one that can't be guessed", calls, f.requestIDs)
	}
	if len(f.endpoints) != 1 {
		t.Errorf("%d endpoints were made", len(f.endpoints))
	}
}

func TestCall_IsNotTriedAgainWhenItMayHaveHadAnEffect(t *testing.T) {
	t.Parallel()
	f := &fake{}
	calls := 0
	f.fail = func(string) error {
		calls++
		return status.Error(codes.Internal, "half done")
	}
	if _, err := dial(t, f).CreateEndpoint(t.Context(), client.NewEndpoint{RequestID: "mine"}); !errors.Is(err, client.ErrInternal) {
		t.Errorf("error is %v, want %v", err, client.ErrInternal)
	}
	if calls != 1 || f.requestIDs["mine"] != 1 {
		t.Errorf("%d calls with request ids %v, want one with mine", calls, f.requestIDs)
	}
}

func TestCall_HasADeadline(t *testing.T) {
	t.Parallel()
	f := known("SF100", 1)
	id := trace.ID{CarrierCode: "sf", WaybillNumber: "SF100"}
	c := dial(t, f, client.WithCallTimeout(time.Hour))
	if _, err := c.GetWaybill(context.WithoutCancel(t.Context()), id); err != nil {
		t.Fatal(err)
	}
	if f.deadline <= 0 || f.deadline > time.Hour {
		t.Errorf("the deadline is in %v, want an hour", f.deadline)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
	defer cancel()
	if _, err := c.GetWaybill(ctx, id); err != nil {
		t.Fatal(err)
	}
	if f.deadline <= time.Hour {
		t.Errorf("the deadline is in %v, want the caller's two hours", f.deadline)
	}
}

func TestCall_GoesOnlyToServersThatAreReady(t *testing.T) {
	t.Parallel()
	f := known("SF100", 1)
	id := trace.ID{CarrierCode: "sf", WaybillNumber: "SF100"}
	c := dial(t, f, client.WithDialOptions(grpc.WithDisableRetry()))
	f.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	if _, err := c.GetWaybill(t.Context(), id); !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("error is %v, want %v", err, client.ErrUnavailable)
	}
	waiting := dial(t, f, client.WithDialOptions(grpc.WithDefaultCallOptions(grpc.WaitForReady(true))))
	got := make(chan error, 1)
	go func() {
		_, err := waiting.GetWaybill(t.Context(), id)
		got <- err
	}()
	f.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestDial_RefusesWhatIsNoTarget(t *testing.T) {
	t.Parallel()
	if _, err := client.Dial("dns://%zz/"); err == nil {
		t.Error("a broken target is taken")
	}
}
