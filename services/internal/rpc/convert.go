package rpc

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// toStatus is the one place where a handler's error becomes what goes over the
// wire. It reports whether the error is a fault of ours, to be logged.
func toStatus(err error) (answer error, fault bool) {
	var e *Error
	switch {
	case err == nil:
		return nil, false
	case errors.As(err, &e):
		// The text around it, if it was wrapped, is for logs.
		return e.GRPCStatus().Err(), e.Code == codes.Internal
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, "the call was cancelled"), false
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "the call took too long"), false
	}
	// An error that gRPC itself made: unimplemented, a broken stream.
	if st, ok := status.FromError(err); ok {
		return st.Err(), st.Code() == codes.Internal || st.Code() == codes.Unknown
	}
	return Internal(err).GRPCStatus().Err(), true
}
