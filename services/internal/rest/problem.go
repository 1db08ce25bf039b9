package rest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
)

// problem is an error as RFC 9457 has it: "type" is about:blank, so "title" is the
// status's. The other members are Posthaste's.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// Code is gRPC's, such as "NOT_FOUND"; Reason is for programs.
	Code       string      `json:"code,omitempty"`
	Reason     string      `json:"reason,omitempty"`
	Resource   string      `json:"resource,omitempty"`
	Violations []violation `json:"violations,omitempty"`
	// RetryAfter is in seconds, and in the header too.
	RetryAfter float64           `json:"retryAfter,omitempty"`
	RequestID  string            `json:"requestId,omitempty"`
	Metadata   map[string]string `json:"metadata,omitempty"`
}

type violation struct {
	Field       string `json:"field,omitempty"`
	Description string `json:"description"`
}

func write(w http.ResponseWriter, p problem) {
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	p.RequestID = w.Header().Get("X-Request-Id")
	if p.RetryAfter > 0 {
		const up = 0.999 // whole seconds, never too early
		w.Header().Set("Retry-After", strconv.Itoa(int(p.RetryAfter+up)))
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Del("Content-Length")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the caller may have gone
}

// problems turns google.rpc.Status, as transcoding gives it, into problem
// details. Other answers pass as they are.
func problems(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := &errorBuffer{ResponseWriter: w}
		next.ServeHTTP(out, r)
		out.finish()
	})
}

// errorBuffer keeps the body of an answer that is an error.
type errorBuffer struct {
	http.ResponseWriter

	status int // of an error; 0 for other answers
	wrote  bool
	body   bytes.Buffer
}

// WriteHeader notes an error's status.
func (b *errorBuffer) WriteHeader(status int) {
	if b.wrote {
		return
	}
	b.wrote = true
	if status >= http.StatusBadRequest && b.Header().Get("Content-Type") != "application/problem+json" {
		b.status = status
		return
	}
	b.ResponseWriter.WriteHeader(status)
}

// Write passes on what is no error.
func (b *errorBuffer) Write(p []byte) (int, error) {
	b.WriteHeader(http.StatusOK)
	if b.status == 0 {
		return b.ResponseWriter.Write(p)
	}
	return b.body.Write(p)
}

// Flush passes on what is no error.
func (b *errorBuffer) Flush() {
	if f, ok := b.ResponseWriter.(http.Flusher); ok && b.status == 0 {
		f.Flush()
	}
}

// Unwrap is for http.ResponseController.
func (b *errorBuffer) Unwrap() http.ResponseWriter { return b.ResponseWriter }

func (b *errorBuffer) finish() {
	if b.status == 0 {
		return
	}
	p := problem{Status: b.status, Detail: strings.TrimSpace(b.body.String())}
	var st statuspb.Status
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b.body.Bytes(), &st); err == nil {
		p.read(&st)
		if p.Reason == "" && p.Code == "UNKNOWN" {
			// The gRPC server gives every error a reason: this is what transcoding says
			// of a request that it can't read.
			p.Status, p.Code, p.Reason = http.StatusBadRequest, "INVALID_ARGUMENT", "INVALID_ARGUMENT"
		}
	}
	for _, name := range []string{"Grpc-Status", "Grpc-Message", "Grpc-Status-Details-Bin", "Content-Encoding", "Trailer"} {
		b.Header().Del(name)
	}
	write(b.ResponseWriter, p)
}

// read takes over what a status says.
func (p *problem) read(st *statuspb.Status) {
	p.Detail, p.Code = st.GetMessage(), codeNames[codes.Code(st.GetCode())]
	for _, d := range st.GetDetails() {
		m, err := d.UnmarshalNew()
		if err != nil {
			continue
		}
		switch m := m.(type) {
		case *errdetails.ErrorInfo:
			p.Reason, p.Metadata = m.GetReason(), m.GetMetadata()
		case *errdetails.BadRequest:
			for _, v := range m.GetFieldViolations() {
				p.Violations = append(p.Violations, violation{v.GetField(), v.GetDescription()})
			}
		case *errdetails.ResourceInfo:
			p.Resource = m.GetResourceName()
		case *errdetails.QuotaFailure:
			for _, v := range m.GetViolations() {
				p.Violations = append(p.Violations, violation{v.GetSubject(), v.GetDescription()})
			}
		case *errdetails.RetryInfo:
			p.RetryAfter = m.GetRetryDelay().AsDuration().Round(time.Millisecond).Seconds()
		}
	}
}

//nolint:gochecknoglobals // a table
var codeNames = map[codes.Code]string{
	codes.Canceled: "CANCELLED", codes.Unknown: "UNKNOWN", codes.InvalidArgument: "INVALID_ARGUMENT", codes.DeadlineExceeded: "DEADLINE_EXCEEDED",
	codes.NotFound: "NOT_FOUND", codes.AlreadyExists: "ALREADY_EXISTS", codes.PermissionDenied: "PERMISSION_DENIED",
	codes.ResourceExhausted: "RESOURCE_EXHAUSTED", codes.FailedPrecondition: "FAILED_PRECONDITION", codes.Aborted: "ABORTED",
	codes.OutOfRange: "OUT_OF_RANGE", codes.Unimplemented: "UNIMPLEMENTED", codes.Internal: "INTERNAL", codes.Unavailable: "UNAVAILABLE",
	codes.DataLoss: "DATA_LOSS", codes.Unauthenticated: "UNAUTHENTICATED",
}
