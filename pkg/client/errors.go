package client

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What a call's error can be. Compare with errors.Is.
var (
	// ErrInvalid says that the request is wrong; [Error.Fields] says where.
	ErrInvalid = errors.New("invalid")
	// ErrNotFound says that it doesn't exist, or not in this tenant.
	ErrNotFound = errors.New("not found")
	// ErrAlreadyExists says that it exists already, or that the request id was
	// used for another request.
	ErrAlreadyExists = errors.New("already exists")
	// ErrPrecondition says that its state doesn't allow it.
	ErrPrecondition = errors.New("precondition failed")
	// ErrConflict says that it changed meanwhile: read it and try again.
	ErrConflict = errors.New("conflict")
	// ErrResourceExhausted says that a limit is reached; [Error.RetryAfter] says
	// when to try again, if ever.
	ErrResourceExhausted = errors.New("resource exhausted")
	// ErrUnavailable says that no server, or a part of Posthaste, can be reached.
	// Try again later.
	ErrUnavailable = errors.New("unavailable")
	// ErrUnauthenticated says that the caller isn't known.
	ErrUnauthenticated = errors.New("unauthenticated")
	// ErrPermissionDenied says that the caller may not.
	ErrPermissionDenied = errors.New("permission denied")
	// ErrUnimplemented says that the server is too old for the call.
	ErrUnimplemented = errors.New("unimplemented")
	// ErrInternal says that the server is at fault.
	ErrInternal = errors.New("internal")
)

// kinds says which error a code is.
var kinds = map[codes.Code]error{
	codes.Canceled:           context.Canceled,
	codes.Unknown:            ErrInternal,
	codes.InvalidArgument:    ErrInvalid,
	codes.DeadlineExceeded:   context.DeadlineExceeded,
	codes.NotFound:           ErrNotFound,
	codes.AlreadyExists:      ErrAlreadyExists,
	codes.PermissionDenied:   ErrPermissionDenied,
	codes.ResourceExhausted:  ErrResourceExhausted,
	codes.FailedPrecondition: ErrPrecondition,
	codes.Aborted:            ErrConflict,
	codes.OutOfRange:         ErrInvalid,
	codes.Unimplemented:      ErrUnimplemented,
	codes.Internal:           ErrInternal,
	codes.Unavailable:        ErrUnavailable,
	codes.DataLoss:           ErrInternal,
	codes.Unauthenticated:    ErrUnauthenticated,
}

// Error is why a call failed.
type Error struct {
	// Op is what was tried.
	Op string
	// Reason is the server's, for programs, such as "RESOURCE_NOT_FOUND"; empty
	// when the call didn't reach a server.
	Reason string
	// Message is for people.
	Message string
	// Resource is the name of what it is about; empty when it's about none.
	Resource string
	// Fields are what is wrong with an invalid request.
	Fields []FieldViolation
	// RetryAfter is when to try again; 0 when the server didn't say.
	RetryAfter time.Duration
	// Metadata is more for programs.
	Metadata map[string]string

	code codes.Code
	kind error
}

// FieldViolation says what is wrong with one field of a request.
type FieldViolation struct {
	// Field is a path in the API's spelling, such as "subscription.endpoint".
	Field       string
	Description string
}

// Error says what was tried and what is wrong.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	b.WriteString(": ")
	if e.Message == "" {
		b.WriteString(e.kind.Error())
	} else {
		b.WriteString(e.Message)
	}
	return b.String()
}

// Unwrap returns the sentinel.
func (e *Error) Unwrap() error { return e.kind }

// GRPCStatus lets status.Code tell the code.
func (e *Error) GRPCStatus() *status.Status { return status.New(e.code, e.Message) }

// fail makes an Error of what gRPC returned. A nil error stays nil.
func fail(op string, err error) error {
	if err == nil {
		return nil
	}
	st, ok := status.FromError(err)
	if !ok {
		// Made on this side, before anything was sent.
		st = status.FromContextError(err)
	}
	e := newError(op, st.Code(), st.Message())
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			e.Reason, e.Metadata = d.GetReason(), d.GetMetadata()
		case *errdetails.BadRequest:
			for _, f := range d.GetFieldViolations() {
				e.Fields = append(e.Fields, FieldViolation{Field: f.GetField(), Description: f.GetDescription()})
			}
		case *errdetails.ResourceInfo:
			e.Resource = d.GetResourceName()
		case *errdetails.RetryInfo:
			e.RetryAfter = d.GetRetryDelay().AsDuration()
		}
	}
	return e
}

func newError(op string, code codes.Code, message string) *Error {
	kind, ok := kinds[code]
	if !ok {
		kind = ErrInternal
	}
	return &Error{Op: op, Message: message, code: code, kind: kind}
}

// passing reports whether an error may pass by itself.
func passing(err error) bool {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return false
	}
	switch e.code {
	case codes.Unavailable, codes.Aborted, codes.Internal, codes.Unknown, codes.DeadlineExceeded, codes.Canceled:
		// A stream that broke may say any of these.
		return true
	case codes.ResourceExhausted:
		return e.RetryAfter > 0
	default:
		return false
	}
}
