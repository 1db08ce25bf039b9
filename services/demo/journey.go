package demo

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/pkg/trace"
	"github.com/posthaste/posthaste/services/internal/carrier"
	tell "github.com/posthaste/posthaste/services/internal/journey"
)

// The sources that tell the journeys.
const (
	kdniaoSource    = "kdniao"
	kuaidi100Source = "kuaidi100"
)

// journeyFiles hold what happens on each journey, in the codes of the source that
// tells it: a [story].
//
//go:embed journeys
var journeyFiles embed.FS

// journey is one parcel's way, as a platform pushes it.
type journey struct {
	title  string
	source string
	id     trace.ID
	// steps are the documents in order.
	steps [][]byte
	// repeat is the step that is pushed twice, -1 for none.
	repeat int
	// final is where it ends.
	final status.Sub
	// yours says that the last step is left to the reader.
	yours bool
}

// script is what is known of a journey beside its file.
var script = []struct {
	file, title string
	repeat      int
	final       status.Sub
	yours       bool
}{
	{"sf-express.kdniao.json", "an express parcel within China, told by Kdniao", 2, status.DeliveredRecipient, false},
	{"zto-locker.kdniao.json", "nobody answers the phone; a locker takes it, told by Kdniao", 4, status.DeliveredCollected, false},
	{"4px-customs.kuaidi100.json", "to Tokyo, through customs twice, told by Kuaidi100", 4, status.DeliveredRecipient, false},
	{"yto-return.kuaidi100.json", "refused, and sent back, told by Kuaidi100", 5, status.ReturnedToSender, false},
	{"jd-yours.kdniao.json", "nearly there, told by Kdniao", -1, status.DeliveredOtherPerson, true},
}

// journeys makes the pushes of all journeys. Their numbers are of this run, so
// that a second run tells something new; they end the day before now.
func journeys(accounts Accounts, now time.Time) ([]journey, error) {
	run := []byte(strconv.FormatInt(now.UnixMilli(), 10))
	all := make([]journey, 0, len(script))
	for _, s := range script {
		doc, err := journeyFiles.ReadFile("journeys/" + s.file)
		if err != nil {
			return nil, fmt.Errorf("read journey: %w", err)
		}
		doc = bytes.ReplaceAll(doc, []byte("{run}"), run)
		j := journey{title: s.title, repeat: s.repeat, final: s.final, yours: s.yours, source: kuaidi100Source}
		if strings.HasSuffix(s.file, ".kdniao.json") {
			j.source = kdniaoSource
		}
		if j.steps, err = steps(j.source, accounts.KdniaoID, doc, now); err != nil {
			return nil, fmt.Errorf("%s: %w", s.file, err)
		}
		ids, err := waybillsOf(j.source, j.steps[0])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.file, err)
		}
		j.id = ids[0]
		all = append(all, j)
	}
	return all, nil
}

// waybillsOf are those that a source's document tells of. A document of which
// nothing can be used is an error.
func waybillsOf(source string, doc []byte) ([]trace.ID, error) {
	s, ok := carrier.Lookup(source)
	if !ok {
		return nil, fmt.Errorf("source %s doesn't exist", source)
	}
	parts, err := s.Split(doc)
	if err != nil {
		return nil, fmt.Errorf("read document of %s: %w", source, err)
	}
	var ids []trace.ID
	for _, p := range parts {
		if p.Err == nil {
			ids = append(ids, trace.ID{CarrierCode: string(p.Carrier), WaybillNumber: string(p.Number)})
		}
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("read document of %s: it tells of no waybill", source)
	}
	return ids, nil
}

// story is a journey as its file has it: a carrier and number of the source's, and
// what happens, in order. Times are those of China.
type story struct {
	Carrier string `json:"carrier"`
	Number  string `json:"number"`
	Steps   []struct {
		Time     string `json:"time"`
		Code     string `json:"code"` // Kdniao's Action, Kuaidi100's statusCode
		City     string `json:"city"`
		AreaCode string `json:"area_code"`
		AreaName string `json:"area_name"`
		Text     string `json:"text"`
	} `json:"steps"`
}

// steps are the pushes of a journey that ended yesterday: each holds the whole trace
// so far, since that is how both sources push.
func steps(source, account string, doc []byte, now time.Time) ([][]byte, error) {
	var s story
	if err := json.Unmarshal(doc, &s); err != nil {
		return nil, fmt.Errorf("read journey: %w", err)
	}
	china := time.FixedZone("", int(8*time.Hour/time.Second))
	told := make([]tell.Event, 0, len(s.Steps))
	for _, step := range s.Steps {
		at, err := time.ParseInLocation(time.DateTime, step.Time, china)
		if err != nil {
			return nil, fmt.Errorf("read time: %w", err)
		}
		told = append(told, tell.Event{
			Step: tell.Step{City: step.City, Text: step.Text, Kdniao: step.Code, Kuaidi100: step.Code},
			At:   at, AreaCode: step.AreaCode, AreaName: step.AreaName,
		})
	}
	days := daysUntil(told[len(told)-1].At, now.In(china)) - 1
	docs := make([][]byte, 0, len(told))
	for i := range told {
		told[i].At = told[i].At.AddDate(0, 0, days)
		if so := told[:i+1]; source == kdniaoSource {
			docs = append(docs, tell.KdniaoPush(account, told[i].At, tell.Kdniao(account, s.Carrier, s.Number, so)))
		} else {
			docs = append(docs, tell.Kuaidi100Push(tell.Kuaidi100(s.Carrier, s.Number, so)))
		}
	}
	return docs, nil
}

// daysUntil are the days of the calendar from one time to another of the same zone.
func daysUntil(from, to time.Time) int {
	date := func(t time.Time) time.Time { return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC) }
	return int(date(to).Sub(date(from)) / (24 * time.Hour))
}

// encode writes a request as JSON.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	out.SetEscapeHTML(false)
	if err := out.Encode(v); err != nil {
		return nil, fmt.Errorf("write request: %w", err)
	}
	return bytes.TrimSpace(b.Bytes()), nil
}
