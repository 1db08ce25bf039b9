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
)

// journeyFiles hold the last push of each journey. The pushes before it are
// made of it, since a platform sends the whole trace each time.
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
		j := journey{title: s.title, repeat: s.repeat, final: s.final, yours: s.yours}
		if strings.HasSuffix(s.file, ".kdniao.json") {
			j.source = kdniaoSource
			j.steps, err = kdniaoSteps(doc, accounts.KdniaoID, now)
		} else {
			j.source = kuaidi100Source
			j.steps, err = kuaidi100Steps(doc, now)
		}
		if err != nil {
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

// clock is the form of time of both platforms.
const clock = "2006-01-02 15:04:05"

// daysSince is how many days to add to a clock so that it shows the day before
// now in China, which is in the past everywhere.
func daysSince(last string, now time.Time) (int, error) {
	at, err := time.Parse(clock, last)
	if err != nil {
		return 0, fmt.Errorf("read time: %w", err)
	}
	today := now.UTC().Add(8 * time.Hour).Truncate(24 * time.Hour)
	return int(today.Sub(at.Truncate(24*time.Hour))/(24*time.Hour)) - 1, nil
}

func addDays(given string, days int) (string, error) {
	at, err := time.Parse(clock, given)
	if err != nil {
		return "", fmt.Errorf("read time: %w", err)
	}
	return at.AddDate(0, 0, days).Format(clock), nil
}

// encode writes JSON as the platforms do: on one line, with no escapes for HTML.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	out.SetEscapeHTML(false)
	if err := out.Encode(v); err != nil {
		return nil, fmt.Errorf("write document: %w", err)
	}
	return bytes.TrimSpace(b.Bytes()), nil
}
