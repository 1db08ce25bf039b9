package rpc

import (
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Domain is the domain of every ErrorInfo.
const Domain = "posthaste.dev"

// Reasons of errors, for programs to act upon. They are part of the API: a name
// is never reused.
const (
	ReasonNotFound         = "RESOURCE_NOT_FOUND"
	ReasonExists           = "RESOURCE_EXISTS"
	ReasonInvalid          = "INVALID_ARGUMENT"
	ReasonConflict         = "CONFLICT"
	ReasonPrecondition     = "PRECONDITION_FAILED"
	ReasonExhausted        = "QUOTA_EXHAUSTED"
	ReasonUnavailable      = "UNAVAILABLE"
	ReasonInternal         = "INTERNAL"
	ReasonRequestIDReused  = "REQUEST_ID_REUSED"
	ReasonPageTokenInvalid = "PAGE_TOKEN_INVALID"
	ReasonResumeExpired    = "RESUME_POINT_EXPIRED"
	ReasonUnauthenticated  = "UNAUTHENTICATED"
	ReasonForbidden        = "PERMISSION_DENIED"
	ReasonTenantDisabled   = "TENANT_DISABLED"
)

// Reasons says what each reason means.
var Reasons = map[string]string{
	ReasonNotFound:         "the resource doesn't exist",
	ReasonExists:           "the resource exists already",
	ReasonInvalid:          "a field of the request is missing or wrong; BadRequest names it",
	ReasonConflict:         "the resource changed meanwhile; read it and try again",
	ReasonPrecondition:     "the resource's state doesn't allow it",
	ReasonExhausted:        "a limit is reached; RetryInfo says when to try again, if ever",
	ReasonUnavailable:      "a part of Posthaste is away; RetryInfo says when to try again",
	ReasonInternal:         "a fault of Posthaste; its log says which",
	ReasonRequestIDReused:  "the request_id was used for another request",
	ReasonPageTokenInvalid: "the page_token is damaged, or belongs to another list or filter",
	ReasonResumeExpired:    "the point to resume from is no longer kept; start anew",
	ReasonUnauthenticated:  "the call says not, or not validly, who calls: an API key, a token or a certificate is missing or wrong",
	ReasonForbidden:        "who calls may not do this",
	ReasonTenantDisabled:   "the tenant is disabled, and so are its keys",
}

// Error is an error with a code, a reason and details. It is safe to show to
// callers, except for its cause.
type Error struct {
	Code    codes.Code
	Reason  string
	Message string
	// Fields are the violations of an invalid request.
	Fields []FieldViolation
	// Resource is the name of the resource, if it is about one.
	Resource string
	// RetryAfter is when to try again; 0 says nothing.
	RetryAfter time.Duration
	// Metadata is added to ErrorInfo.
	Metadata map[string]string

	cause error
}

// FieldViolation says what is wrong with one field.
type FieldViolation struct {
	// Field is the path, such as "endpoint.url" or "events[3].event_time".
	Field       string
	Description string
}

// NotFound says that a resource doesn't exist.
func NotFound(name string) *Error {
	return &Error{Code: codes.NotFound, Reason: ReasonNotFound, Message: name + " was not found", Resource: name}
}

// Exists says that a resource exists already, by its name.
func Exists(name string) *Error {
	return &Error{Code: codes.AlreadyExists, Reason: ReasonExists, Message: name + " exists already", Resource: name}
}

// RequestIDReused says that a request_id came with another request before.
func RequestIDReused() *Error {
	return &Error{Code: codes.AlreadyExists, Reason: ReasonRequestIDReused, Message: "the request_id was used for another request"}
}

// Invalid says what is wrong with a field. More can be added with [Error.And].
func Invalid(field, description string) *Error {
	return InvalidFields(FieldViolation{Field: field, Description: description})
}

// InvalidFields says what is wrong with several fields, at least one.
func InvalidFields(fields ...FieldViolation) *Error {
	e := &Error{Code: codes.InvalidArgument, Reason: ReasonInvalid, Fields: fields}
	e.Message = e.describeFields()
	return e
}

// And adds a field to an invalid request.
func (e *Error) And(field, description string) *Error {
	e.Fields = append(e.Fields, FieldViolation{Field: field, Description: description})
	e.Message = e.describeFields()
	return e
}

func (e *Error) describeFields() string {
	parts := make([]string, len(e.Fields))
	for i, f := range e.Fields {
		parts[i] = f.Field + ": " + f.Description
	}
	return strings.Join(parts, "; ")
}

// Conflict says that a resource changed between reading and writing.
func Conflict(name, description string) *Error {
	return &Error{Code: codes.Aborted, Reason: ReasonConflict, Message: description, Resource: name}
}

// Precondition says that a resource's state doesn't allow what was asked.
func Precondition(name, description string) *Error {
	return &Error{Code: codes.FailedPrecondition, Reason: ReasonPrecondition, Message: description, Resource: name}
}

// Exhausted says that a limit is reached. A retryAfter of 0 doesn't invite to
// try again.
func Exhausted(retryAfter time.Duration, description string) *Error {
	return &Error{Code: codes.ResourceExhausted, Reason: ReasonExhausted, Message: description, RetryAfter: retryAfter}
}

// QuotaExhausted says that a quota of a resource is spent, and for how long.
func QuotaExhausted(name string, retryAfter time.Duration, description string) *Error {
	e := Exhausted(retryAfter, description)
	e.Resource = name
	return e
}

// Unavailable says that a part is away and when to try again.
func Unavailable(retryAfter time.Duration) *Error {
	return &Error{Code: codes.Unavailable, Reason: ReasonUnavailable, Message: "temporarily unavailable, try again", RetryAfter: retryAfter}
}

// Unauthenticated says that it isn't known who calls.
func Unauthenticated(description string) *Error {
	return &Error{Code: codes.Unauthenticated, Reason: ReasonUnauthenticated, Message: description}
}

// Forbidden says that the caller may not do something.
func Forbidden(description string) *Error {
	return &Error{Code: codes.PermissionDenied, Reason: ReasonForbidden, Message: description}
}

// Internal hides a fault from the caller. The cause is logged.
func Internal(cause error) *Error {
	return &Error{Code: codes.Internal, Reason: ReasonInternal, Message: "internal error", cause: cause}
}

// WithReason gives a more exact reason; add it to [Reasons].
func (e *Error) WithReason(reason string) *Error {
	e.Reason = reason
	return e
}

// With adds metadata for programs.
func (e *Error) With(key, value string) *Error {
	if e.Metadata == nil {
		e.Metadata = make(map[string]string, 1)
	}
	e.Metadata[key] = value
	return e
}

// CausedBy keeps the cause for the log. Callers never see it.
func (e *Error) CausedBy(err error) *Error {
	e.cause = err
	return e
}

// Error is for logs: it includes the cause.
func (e *Error) Error() string {
	if e.cause != nil {
		return e.Message + ": " + e.cause.Error()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// GRPCStatus is what goes over the wire.
func (e *Error) GRPCStatus() *status.Status {
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: e.Reason, Domain: Domain, Metadata: e.Metadata}}
	if len(e.Fields) > 0 {
		bad := &errdetails.BadRequest{}
		for _, f := range e.Fields {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{
				Field: f.Field, Description: f.Description, Reason: e.Reason,
			})
		}
		details = append(details, bad)
	}
	if e.Resource != "" {
		details = append(details, &errdetails.ResourceInfo{ResourceType: ResourceType(e.Resource), ResourceName: e.Resource, Description: e.Message})
	}
	if e.Code == codes.FailedPrecondition {
		details = append(details, &errdetails.PreconditionFailure{Violations: []*errdetails.PreconditionFailure_Violation{
			{Type: e.Reason, Subject: e.Resource, Description: e.Message},
		}})
	}
	if e.Code == codes.ResourceExhausted && e.Resource != "" {
		details = append(details, &errdetails.QuotaFailure{Violations: []*errdetails.QuotaFailure_Violation{{Subject: e.Resource, Description: e.Message}}})
	}
	if e.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)})
	}
	st := status.New(e.Code, e.Message)
	detailed, err := st.WithDetails(details...)
	if err != nil {
		return st // details of these types always marshal
	}
	return detailed
}
