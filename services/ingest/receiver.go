package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
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

// document is a verified push: what of it says the traces, and who sent it.
type document struct {
	account string
	text    []byte
	// nothing says that there is nothing to take in, and all is well.
	nothing bool
}

// refusal is why a push isn't taken in.
type refusal struct {
	status      int    // HTTP
	reason      string // short, for metrics and the REJECTED stream
	field       string
	description string // for the source
	record      bool   // whether it is worth a place in the REJECTED stream
}

// face is what is a source's own about receiving: how its pushes are verified
// and how they are answered.
type face interface {
	code() string
	verify(r *http.Request, p params) (document, *refusal)
	succeed(w http.ResponseWriter, doc document, now time.Time)
	refuse(w http.ResponseWriter, account string, no refusal, now time.Time)
}

// Handler takes what sources push. Register it below /v1/sources/.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	kdniao := s.receive(kdniaoFace{keys: s.cfg.Kdniao})
	mux.Handle("/v1/sources/kdniao", kdniao)
	mux.Handle("/v1/sources/kdniao/{rest...}", kdniao)
	mux.Handle("/v1/sources/kuaidi100/{account}", s.receive(kuaidi100Face{salts: s.cfg.Kuaidi100}))
	mux.HandleFunc("/v1/sources/{rest...}", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusNotFound, map[string]any{"error": "unknown source: post to /v1/sources/kdniao or /v1/sources/kuaidi100/{account}"})
	})
	return mux
}

func (s *Service) receive(f face) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			answer(w, http.StatusMethodNotAllowed, map[string]any{"error": "only POST is taken here"})
			return
		}
		now := s.cfg.Now()
		body, no := readBody(w, r)
		var doc document
		if no == nil {
			doc, no = f.verify(r, paramsOf(r, body))
		}
		var parts []carrier.Part
		if no == nil && !doc.nothing {
			parts, no = split(f.code(), doc)
		}
		if no == nil {
			no = s.take(r.Context(), f.code(), doc, parts, now)
		}
		if no == nil {
			f.succeed(w, doc, now)
			fault.Crash("ingest.answered")
			return
		}
		switch no.reason {
		case "bad_signature", "unknown_account":
			gate.BadSignature(r.Context())
		}
		if no.record {
			err := s.reject(r.Context(), &pipelinev1.RejectedRaw{
				// A header may hold any bytes, a message only UTF-8.
				Source: f.code(), Account: doc.account, Body: body, ContentType: strings.ToValidUTF8(r.Header.Get("Content-Type"), "\uFFFD"),
				Reason: no.reason, Field: no.field, Description: no.description, ReceiveTime: timestamppb.New(now),
			})
			if err != nil {
				// The source is told no either way.
				s.cfg.Log.ErrorContext(r.Context(), "a refused push can't be recorded", obs.KeySource, f.code(), obs.KeyError, err)
			}
		}
		s.cfg.Log.DebugContext(r.Context(), "a push was refused", obs.KeySource, f.code(), "reason", no.reason)
		if no.status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", retryAfter)
		}
		f.refuse(w, doc.account, *no, now)
	})
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, *refusal) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		return body, nil
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, &refusal{status: http.StatusRequestEntityTooLarge, reason: "too_large", description: "the body is larger than 4 MiB"}
	}
	return nil, &refusal{status: http.StatusBadRequest, reason: "bad_body", description: "the body broke off"}
}

func split(code string, doc document) ([]carrier.Part, *refusal) {
	source, ok := carrier.Lookup(code)
	if !ok {
		return nil, &refusal{status: http.StatusNotFound, reason: "unknown_source", description: "the source has no mapping"}
	}
	if !utf8.Valid(doc.text) {
		return nil, &refusal{status: http.StatusBadRequest, reason: "bad_body", description: "the document is not UTF-8", record: true}
	}
	parts, err := source.Split(doc.text)
	if err == nil {
		return parts, nil
	}
	no := &refusal{status: http.StatusBadRequest, reason: "bad_body", description: short(err.Error()), record: true}
	if f, ok := errors.AsType[*carrier.FieldError](err); ok {
		no.reason, no.field = "bad_field", f.Field
	}
	return nil, no
}

// take keeps the good parts and records the bad ones. A push with a bad part is
// a success: the source would repeat it for ever, and the good parts with it,
// and what was bad would still be bad. It is in the REJECTED stream; when that
// is away, success would lose it, and the source comes again.
func (s *Service) take(ctx context.Context, code string, doc document, parts []carrier.Part, now time.Time) *refusal {
	source, _ := carrier.Lookup(code)
	var raws []*pipelinev1.RawTrace
	var bad []*pipelinev1.RejectedRaw
	for _, p := range parts {
		if p.Err != nil {
			bad = append(bad, &pipelinev1.RejectedRaw{
				Source: code, Account: doc.account, Body: p.Body, Reason: "bad_field", Field: p.Err.Field, Description: short(p.Err.Description),
				ReceiveTime: timestamppb.New(now),
			})
			continue
		}
		raws = append(raws, &pipelinev1.RawTrace{
			Source: code, SourceKind: trackingv1.SourceKind(source.Kind), Account: doc.account,
			CarrierCode: string(p.Carrier), WaybillNumber: string(p.Number), Body: p.Body, Context: p.Context, ReceiveTime: timestamppb.New(now),
		})
	}
	err := s.keep(ctx, code, raws)
	if err == nil {
		err = s.reject(ctx, bad...)
	}
	if err != nil {
		s.cfg.Log.ErrorContext(ctx, "a push can't be kept; its source is told to come again", obs.KeySource, code, obs.KeyError, err)
		return &refusal{status: http.StatusServiceUnavailable, reason: "unavailable", description: "temporarily unavailable, try again"}
	}
	if len(raws) == 0 && len(bad) > 0 {
		return &refusal{status: http.StatusOK, reason: "bad_field", field: bad[0].GetField(), description: bad[0].GetField() + ": " + bad[0].GetDescription()}
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

// params are a push's parameters, wherever its sender put them.
type params struct{ url.Values }

// paramsOf reads the parameters of the URL, and those of a form or a JSON object
// over them. What the body looks like counts, not its content type: senders
// write all kinds there.
func paramsOf(r *http.Request, body []byte) params {
	p := params{r.URL.Query()}
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
	maps.Copy(p.Values, form)
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

// answer writes JSON with a length: some senders speak HTTP/1.0.
func answer(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		status, data = http.StatusInternalServerError, []byte(`{}`)
	}
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	_, _ = w.Write(data)
}
