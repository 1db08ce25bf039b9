package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/posthaste/posthaste/pkg/payload"
)

// MaxBody is the largest body that [Handler] reads.
const MaxBody = 8 << 20

// Decode reads the body of a push that was verified. It allows fields it
// doesn't know and refuses types it doesn't know.
func Decode(body []byte) (payload.Push, error) {
	var p payload.Push
	if err := json.Unmarshal(body, &p); err != nil {
		return payload.Push{}, fmt.Errorf("decode push: %w", err)
	}
	switch {
	case p.Type != payload.TypeTraceUpdated:
		return payload.Push{}, fmt.Errorf("decode push: type %q isn't known", p.Type)
	case p.PushID == "" || p.SubscriptionID == "":
		return payload.Push{}, errors.New("decode push: push_id or subscription_id is missing")
	case p.AfterRevision >= p.Revision:
		return payload.Push{}, fmt.Errorf("decode push: after_revision %d isn't below revision %d", p.AfterRevision, p.Revision)
	}
	return p, nil
}

// retryError asks Posthaste to come again later.
type retryError struct {
	err   error
	after time.Duration
}

func (e *retryError) Error() string { return e.err.Error() }
func (e *retryError) Unwrap() error { return e.err }

// RetryAfter makes [Handler] answer 503 with a Retry-After header: the receiver
// is overloaded, or waits for something. Posthaste slows down for the whole
// endpoint.
func RetryAfter(delay time.Duration, err error) error {
	if err == nil {
		return nil
	}
	return &retryError{err: err, after: delay}
}

// Handler takes pushes: it checks the signature, decodes the body, and calls
// handle. Only when handle returns nil is the push acknowledged; on an error it
// comes again. The answers:
//
//	204  handle returned nil
//	400  a header is missing, or the signed body isn't a push
//	401  the signature doesn't match, or the timestamp is too old or in the future
//	405  not POST
//	413  the body is larger than [MaxBody]
//	500  handle returned an error, which isn't shown, or there is no secret
//	503  handle returned an error made by [RetryAfter]
//
// The context that handle gets ends when Posthaste hangs up, which it does
// after the endpoint's time-out. handle is called by several goroutines.
func Handler(v *Verifier, handle func(ctx context.Context, p payload.Push) error) http.Handler {
	return posted(func(w http.ResponseWriter, r *http.Request, body []byte) {
		if err := v.Verify(r.Header, body); err != nil {
			http.Error(w, err.Error(), verifyStatus(err))
			return
		}
		p, err := Decode(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := handle(r.Context(), p); err != nil {
			refusePush(w, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

// posted hands the body of a POST on, and refuses what isn't one or is too large.
func posted(take func(w http.ResponseWriter, r *http.Request, body []byte)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "pushes are posted", http.StatusMethodNotAllowed)
			return
		}
		body, err := read(w, r)
		if err != nil {
			refuseBody(w, err)
			return
		}
		take(w, r, body)
	})
}

func read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > MaxBody {
		return nil, &http.MaxBytesError{Limit: MaxBody}
	}
	var buf bytes.Buffer
	// What is announced is believed up to a point: memory follows what comes.
	buf.Grow(int(min(max(r.ContentLength, 0), 64<<10)) + bytes.MinRead)
	_, err := io.Copy(&buf, http.MaxBytesReader(w, r.Body, MaxBody))
	return buf.Bytes(), err
}

func refuseBody(w http.ResponseWriter, err error) {
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		http.Error(w, fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit), http.StatusRequestEntityTooLarge)
		return
	}
	http.Error(w, "the body broke off", http.StatusBadRequest)
}

func verifyStatus(err error) int {
	switch {
	case errors.Is(err, ErrHeader):
		return http.StatusBadRequest
	case errors.Is(err, ErrNoSecret):
		return http.StatusInternalServerError
	default:
		return http.StatusUnauthorized
	}
}

func refusePush(w http.ResponseWriter, err error) {
	if retry, ok := errors.AsType[*retryError](err); ok {
		seconds := int64(math.Ceil(retry.after.Seconds()))
		w.Header().Set("Retry-After", strconv.FormatInt(max(seconds, 1), 10))
		http.Error(w, "the receiver asks to come again later", http.StatusServiceUnavailable)
		return
	}
	// The error may say what isn't Posthaste's business.
	http.Error(w, "the receiver couldn't handle the push", http.StatusInternalServerError)
}
