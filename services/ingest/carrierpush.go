package ingest

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strings"
	"time"

	"golang.org/x/text/encoding/simplifiedchinese"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/posthaste/posthaste/pkg/api/posthaste/ingest/v1"
	trackingv1 "github.com/posthaste/posthaste/pkg/api/posthaste/tracking/v1"
	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/pkg/webhook"
	"github.com/posthaste/posthaste/services/internal/canonical"
	"github.com/posthaste/posthaste/services/internal/gate"
	pipelinev1 "github.com/posthaste/posthaste/services/internal/gen/posthaste/pipeline/v1"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/strict"
)

// CarrierHandler takes the pushes of carriers that have no form of their own: signed
// by Standard Webhooks, in JSON or XML; docs/carrier-push.md describes it. secrets are
// those of carriers, by code. Register it at "POST /v1/carriers/{carrier}/events".
func (s *Service) CarrierHandler(secrets map[string]webhook.Secret) http.Handler {
	// Whoever has no secret is checked against one that nobody knows, so that the
	// time taken doesn't tell which carriers have one.
	nobody, err := webhook.ParseSecret(webhook.NewSecret())
	if err != nil {
		panic(err) // what it makes, it reads
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := s.cfg.Now()
		code := r.PathValue("carrier")
		body, err := io.ReadAll(r.Body)
		if err != nil {
			answerPush(w, http.StatusBadRequest, pushAnswer{Error: "the body broke off"})
			return
		}
		secret, known := secrets[code]
		if !known {
			secret = nobody
		}
		v := webhook.Verifier{Secrets: []webhook.Secret{secret}, Now: s.cfg.Now}
		if err := v.Verify(r.Header, body); err != nil || !known {
			gate.BadSignature(r.Context())
			answerPush(w, http.StatusUnauthorized, pushAnswer{Error: "the signature is missing, wrong or too old"})
			return
		}
		events, no := readPush(r.Header.Get("Content-Type"), body, code)
		if no != nil {
			s.rejectPush(w, r, code, body, no, now)
			return
		}
		s.takePush(w, r, code, events, now)
	})
}

// pushAnswer is what a carrier is answered.
type pushAnswer struct {
	Accepted int            `json:"accepted"`
	Rejected []pushRejected `json:"rejected,omitempty"`
	Error    string         `json:"error,omitempty"`
	Field    string         `json:"field,omitempty"`
}

// pushRejected is an event that wasn't taken.
type pushRejected struct {
	Index       int64  `json:"index"`
	Field       string `json:"field"`
	Description string `json:"description"`
}

// badPush is why a push isn't taken.
type badPush struct {
	status             int
	field, description string
}

func (s *Service) rejectPush(w http.ResponseWriter, r *http.Request, code string, body []byte, no *badPush, now time.Time) {
	err := s.reject(r.Context(), &pipelinev1.RejectedRaw{
		Source: canonical.Source, Account: code, Body: body[:min(len(body), maxRejectedBody)], ContentType: strings.ToValidUTF8(r.Header.Get("Content-Type"), "\uFFFD"),
		Reason: "bad_body", Field: no.field, Description: short(no.description), ReceiveTime: timestamppb.New(now),
	})
	if err != nil {
		// The carrier is told no either way.
		s.cfg.Log.ErrorContext(r.Context(), "a refused push can't be recorded", obs.KeyCarrierCode, code, obs.KeyError, err)
	}
	answerPush(w, no.status, pushAnswer{Error: short(no.description), Field: no.field})
}

// maxRejectedBody is how much of a body that can't be used is kept.
const maxRejectedBody = 64 << 10

// takePush keeps the good events and says which are bad. When it answers success all
// good ones are on disk.
func (s *Service) takePush(w http.ResponseWriter, r *http.Request, code string, events []*ingestv1.ReportedEvent, now time.Time) {
	raws, rejected, err := sort(events, now)
	if err != nil {
		answerPush(w, http.StatusBadRequest, pushAnswer{Error: err.Error(), Field: "events"})
		return
	}
	a := pushAnswer{Accepted: len(events) - len(rejected)}
	var bad []*pipelinev1.RejectedRaw
	for _, e := range rejected {
		a.Rejected = append(a.Rejected, pushRejected{Index: e.GetIndex(), Field: pushField(e.GetField()), Description: short(e.GetDescription())})
		bad = append(bad, &pipelinev1.RejectedRaw{
			Source: canonical.Source, Account: code, Reason: "bad_field", Field: e.GetField(), Description: short(e.GetDescription()), ReceiveTime: timestamppb.New(now),
		})
	}
	err = s.keep(r.Context(), canonical.Source, raws)
	if err == nil {
		err = s.reject(r.Context(), bad...)
	}
	if err != nil {
		s.cfg.Log.ErrorContext(r.Context(), "a push can't be kept; its carrier is told to come again", obs.KeyCarrierCode, code, obs.KeyError, err)
		w.Header().Set("Retry-After", retryAfter)
		answerPush(w, http.StatusServiceUnavailable, pushAnswer{Error: "temporarily unavailable, try again"})
		return
	}
	if a.Accepted == 0 {
		a.Error, a.Field = a.Rejected[0].Description, a.Rejected[0].Field
		answerPush(w, http.StatusUnprocessableEntity, a)
		return
	}
	answerPush(w, http.StatusOK, a)
}

// pushField is a field as the push spells it.
func pushField(field string) string {
	switch field {
	case "waybill_number":
		return "waybill"
	case "carrier_code":
		return "carrier"
	case "text":
		return "description"
	case "raw_code":
		return "code"
	}
	return field
}

func answerPush(w http.ResponseWriter, code int, a pushAnswer) {
	body, err := json.Marshal(a)
	if err != nil {
		return // it always encodes
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(body)
}

// pushEvent is an event as a carrier pushes it.
type pushEvent struct {
	Waybill     string `json:"waybill" xml:"waybill"`
	Carrier     string `json:"carrier" xml:"carrier"`
	EventID     string `json:"event_id" xml:"event_id"`
	EventTime   string `json:"event_time" xml:"event_time"`
	Status      string `json:"status" xml:"status"`
	SubStatus   string `json:"sub_status" xml:"sub_status"`
	Code        string `json:"code" xml:"code"`
	Description string `json:"description" xml:"description"`
	Location    string `json:"location" xml:"location"`
}

// pushEvents are several.
type pushEvents struct {
	Events []pushEvent `json:"events" xml:"event"`
}

// readPush reads a signed body. Its events are those of the path's carrier.
func readPush(contentType string, body []byte, code string) ([]*ingestv1.ReportedEvent, *badPush) {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		media = ""
	}
	var events []pushEvent
	var no *badPush
	switch {
	case media == "application/json" || strings.HasSuffix(media, "+json"):
		events, no = readJSON(body, params["charset"])
	case media == "application/xml" || media == "text/xml" || strings.HasSuffix(media, "+xml"):
		events, no = readXML(body, params["charset"])
	default:
		return nil, &badPush{http.StatusUnsupportedMediaType, "", "the Content-Type must be application/json or application/xml"}
	}
	switch {
	case no != nil:
		return nil, no
	case len(events) > maxEvents:
		return nil, &badPush{http.StatusRequestEntityTooLarge, "events", fmt.Sprintf("must be 1 to %d, and there are %d", maxEvents, len(events))}
	case len(events) == 0:
		return nil, &badPush{http.StatusUnprocessableEntity, "events", "there is none"}
	}
	out := make([]*ingestv1.ReportedEvent, len(events))
	for i := range events {
		e := &events[i]
		if e.Carrier != "" && e.Carrier != code {
			return nil, &badPush{http.StatusForbidden, fmt.Sprintf("events[%d].carrier", i), "is another carrier than the one that signed"}
		}
		if out[i], no = e.reported(code, i); no != nil {
			return nil, no
		}
	}
	return out, nil
}

func (e *pushEvent) reported(code string, i int) (*ingestv1.ReportedEvent, *badPush) {
	out := &ingestv1.ReportedEvent{
		CarrierCode: code, WaybillNumber: e.Waybill, EventId: e.EventID, EventTime: e.EventTime, RawCode: strict.Text(e.Code), Text: strict.Text(e.Description),
	}
	if e.Location != "" {
		out.Location = &trackingv1.Location{Text: strict.Text(e.Location)}
	}
	if e.Status != "" {
		s, err := status.Parse(strings.ToLower(e.Status))
		if err != nil {
			return nil, &badPush{http.StatusUnprocessableEntity, fmt.Sprintf("events[%d].status", i), "is not in the taxonomy"}
		}
		out.Status = trackingv1.Status(s)
	}
	if e.SubStatus != "" {
		sub, err := status.ParseSub(strings.ToLower(e.SubStatus))
		if err != nil {
			return nil, &badPush{http.StatusUnprocessableEntity, fmt.Sprintf("events[%d].sub_status", i), "is not in the taxonomy"}
		}
		out.SubStatus = trackingv1.SubStatus(sub)
	}
	return out, nil
}

func readJSON(body []byte, charset string) ([]pushEvent, *badPush) {
	text, no := toUTF8(body, charset)
	if no != nil {
		return nil, no
	}
	if err := strict.JSON(text); err != nil {
		return nil, &badPush{http.StatusBadRequest, "", err.Error()}
	}
	var doc struct {
		pushEvents
		pushEvent
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		if kind, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return nil, &badPush{http.StatusBadRequest, strings.TrimPrefix(strings.TrimPrefix(kind.Field, "pushEvents."), "pushEvent."), "must be a " + kind.Type.String()}
		}
		return nil, &badPush{http.StatusBadRequest, "", "the document has a field that isn't known, or isn't an object"}
	}
	return oneOrMore(doc.Events, doc.pushEvent)
}

// oneOrMore is a document that is an event or has several.
func oneOrMore(events []pushEvent, one pushEvent) ([]pushEvent, *badPush) {
	if one == (pushEvent{}) {
		return events, nil
	}
	if len(events) > 0 {
		return nil, &badPush{http.StatusBadRequest, "events", "can't stand beside the fields of an event"}
	}
	return []pushEvent{one}, nil
}

// declared is the encoding that an XML declaration names.
var declared = regexp.MustCompile(`^\s*<\?xml[^>]*encoding\s*=\s*["']([^"']*)["']`)

func readXML(body []byte, charset string) ([]pushEvent, *badPush) {
	if m := declared.FindSubmatch(strict.TrimBOM(body[:min(len(body), 200)])); m != nil && charset == "" {
		charset = string(m[1])
	}
	text, no := toUTF8(body, charset)
	if no != nil {
		return nil, no
	}
	if err := strict.XML(text); err != nil {
		return nil, &badPush{http.StatusBadRequest, "", err.Error()}
	}
	d := xml.NewDecoder(bytes.NewReader(text))
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil } // it is UTF-8 by now
	var doc struct {
		XMLName xml.Name
		pushEvents
		pushEvent
	}
	if err := d.Decode(&doc); err != nil {
		return nil, &badPush{http.StatusBadRequest, "", "the document can't be read"}
	}
	switch doc.XMLName.Local {
	case "events", "event":
		return oneOrMore(doc.Events, doc.pushEvent)
	}
	return nil, &badPush{http.StatusBadRequest, "", "the document must be <events> or <event>"}
}

// toUTF8 brings a body to UTF-8 from the encodings that carriers write. An unknown one is
// refused: a guess would be someone's name in other letters.
func toUTF8(body []byte, charset string) ([]byte, *badPush) {
	switch strings.ToLower(strings.ReplaceAll(charset, "_", "-")) {
	case "", "utf-8", "utf8", "us-ascii":
		return strict.TrimBOM(body), nil
	case "gbk", "gb2312", "gb18030":
		text, err := simplifiedchinese.GB18030.NewDecoder().Bytes(body)
		if err != nil || bytes.ContainsRune(text, '\uFFFD') {
			return nil, &badPush{http.StatusBadRequest, "", "the document isn't in the encoding that it names"}
		}
		return text, nil
	}
	return nil, &badPush{http.StatusUnsupportedMediaType, "", "the encoding must be UTF-8, GBK or GB18030"}
}
