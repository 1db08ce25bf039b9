package ingest

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/services/internal/carrier"
	"github.com/posthaste/posthaste/services/internal/fault"
	"github.com/posthaste/posthaste/services/internal/gate"
	pipelinev1 "github.com/posthaste/posthaste/services/internal/gen/posthaste/pipeline/v1"
	"github.com/posthaste/posthaste/services/internal/obs"
)

const (
	// maxBody is the largest push taken in. The part of one waybill must fit a
	// message of the stream.
	maxBody = 4 << 20
	// maxDescription is how many bytes a source is told of what is wrong.
	maxDescription = 500
	// retryAfter is when a source may come again after a 503, in seconds.
	retryAfter = "5"
)

// Handler takes what sources push. Register it below /v1/sources/. The path
// names the source; where the source needs it, the account and a key.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, source := range carrier.Sources() {
		if source.Push == nil {
			continue
		}
		base, take := "/v1/sources/"+source.Code, s.receive(source)
		switch {
		case source.Push.AnyPath:
			mux.Handle(base, take)
			mux.Handle(base+"/{rest...}", take)
		case source.Push.NeedsAccount:
			mux.Handle(base+"/{account}", take)
		default:
			mux.Handle(base, take)
			mux.Handle(base+"/{account}", take)
			mux.Handle(base+"/{account}/{key}", take)
		}
	}
	mux.HandleFunc("/v1/sources/{rest...}", func(w http.ResponseWriter, _ *http.Request) {
		write(w, carrier.Answer{
			Status: http.StatusNotFound, ContentType: "application/json;charset=utf-8",
			Body: []byte(`{"error":"unknown source: post to /v1/sources/{source}/{account}, see docs/sources.md"}`),
		})
	})
	return mux
}

func (s *Service) receive(source carrier.Source) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPost:
		case http.MethodHead: // some sources look first whether anybody is there
			return
		default:
			w.Header().Set("Allow", http.MethodPost)
			write(w, carrier.Answer{
				Status: http.StatusMethodNotAllowed, ContentType: "application/json;charset=utf-8",
				Body: []byte(`{"error":"only POST is taken here"}`),
			})
			return
		}
		write(w, s.answer(w, r, source))
		fault.Crash("ingest.answered")
	})
}

// answer takes a push and makes the source's answer.
func (s *Service) answer(w http.ResponseWriter, r *http.Request, source carrier.Source) carrier.Answer {
	now := s.cfg.Now()
	body, no := readBody(w, r)
	var doc carrier.Document
	if no == nil {
		doc, no = source.Push.Verify(&carrier.Request{
			Accounts: s.cfg.Accounts[source.Code], Account: r.PathValue("account"), Key: r.PathValue("key"),
			Header: r.Header.Get, Form: sync.OnceValue(func() url.Values { return paramsOf(r, body) }), Body: body, Now: now,
		})
	}
	var parts []carrier.Part
	if no == nil && !doc.Nothing {
		parts, no = split(source, doc)
	}
	if no == nil {
		no = s.take(r.Context(), source, doc, parts, now)
	}
	if no == nil {
		return source.Push.Accept(doc, now)
	}
	switch no.Reason {
	case "bad_signature", "unknown_account":
		gate.BadSignature(r.Context())
	}
	if no.Record {
		err := s.reject(r.Context(), &pipelinev1.RejectedRaw{
			// A header may hold any bytes, a message only UTF-8.
			Source: source.Code, Account: doc.Account, Body: body, ContentType: strings.ToValidUTF8(r.Header.Get("Content-Type"), "\uFFFD"),
			Reason: no.Reason, Field: no.Field, Description: no.Description, ReceiveTime: timestamppb.New(now),
		})
		if err != nil {
			// The source is told no either way.
			s.cfg.Log.ErrorContext(r.Context(), "a refused push can't be recorded", obs.KeySource, source.Code, obs.KeyError, err)
		}
	}
	s.cfg.Log.DebugContext(r.Context(), "a push was refused", obs.KeySource, source.Code, "reason", no.Reason)
	if no.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	return source.Push.Refuse(doc, no, now)
}

// readBody reads a body, unpacked if it is packed. Neither form may be larger
// than maxBody.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, *carrier.Refusal) {
	large := &carrier.Refusal{Status: http.StatusRequestEntityTooLarge, Reason: "too_large", Description: "the body is larger than 4 MiB"}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, is := errors.AsType[*http.MaxBytesError](err); is {
		return nil, large
	}
	if err != nil {
		return nil, &carrier.Refusal{Status: http.StatusBadRequest, Reason: "bad_body", Description: "the body broke off"}
	}
	switch coding := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding"))); coding {
	case "", "identity":
		return body, nil
	case "gzip":
	default:
		return nil, &carrier.Refusal{Status: http.StatusUnsupportedMediaType, Reason: "bad_body", Description: "Content-Encoding must be gzip or none"}
	}
	packed, err := gzip.NewReader(bytes.NewReader(body))
	if err == nil {
		body, err = io.ReadAll(io.LimitReader(packed, maxBody+1))
	}
	switch {
	case err != nil:
		return nil, &carrier.Refusal{Status: http.StatusBadRequest, Reason: "bad_body", Description: "the body is not gzip"}
	case len(body) > maxBody:
		return nil, large
	}
	return body, nil
}

func split(source carrier.Source, doc carrier.Document) ([]carrier.Part, *carrier.Refusal) {
	if !utf8.Valid(doc.Text) {
		return nil, &carrier.Refusal{Status: http.StatusBadRequest, Reason: "bad_body", Description: "the document is not UTF-8", Record: true}
	}
	parts, err := source.Split(doc.Text)
	if err == nil {
		return parts, nil
	}
	no := &carrier.Refusal{Status: http.StatusBadRequest, Reason: "bad_body", Description: short(err.Error()), Record: true}
	if f, ok := errors.AsType[*carrier.FieldError](err); ok {
		no.Reason, no.Field = "bad_field", f.Field
	}
	return nil, no
}

// take keeps the good parts and records the bad ones. A push with a bad part is
// a success: the source would repeat it for ever, and the good parts with it,
// and what was bad would still be bad. It is in the REJECTED stream; when that
// is away, success would lose it, and the source comes again.
func (s *Service) take(ctx context.Context, source carrier.Source, doc carrier.Document, parts []carrier.Part, now time.Time) *carrier.Refusal {
	var raws []*pipelinev1.RawTrace
	var bad []*pipelinev1.RejectedRaw
	for _, p := range parts {
		if p.Err != nil {
			bad = append(bad, &pipelinev1.RejectedRaw{
				Source: source.Code, Account: doc.Account, Body: p.Body, Reason: "bad_field", Field: p.Err.Field, Description: short(p.Err.Description),
				ReceiveTime: timestamppb.New(now),
			})
			continue
		}
		raws = append(raws, &pipelinev1.RawTrace{
			Source: source.Code, SourceKind: trackingv1.SourceKind(source.Kind), Account: doc.Account,
			CarrierCode: string(p.Carrier), WaybillNumber: string(p.Number), Body: p.Body, Context: p.Context, ReceiveTime: timestamppb.New(now),
		})
	}
	err := s.keepShare(ctx, source.Code, source.Code+"/"+doc.Account, raws, true)
	if err == nil {
		err = s.reject(ctx, bad...)
	}
	if err != nil {
		s.cfg.Log.Log(ctx, levelOf(err), "a push can't be kept; its source is told to come again", obs.KeySource, source.Code, obs.KeyError, err)
		return &carrier.Refusal{Status: http.StatusServiceUnavailable, Reason: "unavailable", Description: "temporarily unavailable, try again"}
	}
	if len(raws) == 0 && len(bad) > 0 {
		return &carrier.Refusal{
			Status: carrier.StatusUnprocessable, Reason: "bad_field", Field: bad[0].GetField(), Description: bad[0].GetField() + ": " + bad[0].GetDescription(),
		}
	}
	return nil
}

// short bounds a description that quotes what came: the source has it, and
// beside the bytes themselves it would be too large for the stream.
func short(description string) string {
	if len(description) <= maxDescription {
		return description
	}
	return strings.ToValidUTF8(description[:maxDescription], "") + "…"
}

// paramsOf reads the parameters of the URL, and those of a form or a JSON object
// over them. What the body looks like counts, not its content type: senders
// write all kinds there.
func paramsOf(r *http.Request, body []byte) url.Values {
	p := r.URL.Query()
	var fields map[string]json.RawMessage
	if looksLikeJSON(body) && json.Unmarshal(body, &fields) == nil {
		for name, raw := range fields {
			// What isn't a string counts as it is written: account ids come as
			// numbers.
			text := string(raw)
			if text == "null" || raw[0] == '"' && json.Unmarshal(raw, &text) != nil {
				continue
			}
			p.Set(name, text)
		}
		return p
	}
	// A broken pair doesn't spoil the others.
	form, _ := url.ParseQuery(string(body))
	maps.Copy(p, form)
	return p
}

func looksLikeJSON(body []byte) bool {
	for _, c := range body {
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		}
		return c == '{'
	}
	return false
}

// write answers with a length: some senders speak HTTP/1.0.
func write(w http.ResponseWriter, a carrier.Answer) {
	w.Header().Set("Content-Type", a.ContentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(a.Body)))
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body)
}
