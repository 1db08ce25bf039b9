package carrier

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/services/internal/track"
)

const kuaidi100Code = "kuaidi100"

// What Kuaidi100 says beside a result, and the other leg's waybill as
// Posthaste's code and number, kept for Map.
const (
	contextStatus       = "status" // polling, shutdown, abort, updateall
	contextMessage      = "message"
	contextOldCarrier   = "com_old"
	contextNewCarrier   = "com_new"
	contextLastCarrier  = "last_mile_carrier"
	contextLastNumber   = "last_mile_number"
	contextFirstCarrier = "parent_carrier"
	contextFirstNumber  = "parent_number"
)

const statusAbort = "abort"

// kuaidi100Push is the document of a push: param.
type kuaidi100Push struct {
	Status, Message, ComOld, ComNew text
	LastResult, DestResult          json.RawMessage
}

// kuaidi100Result is the trace of one waybill, of a push or of a query.
type kuaidi100Result struct {
	Message, Nu, Com, Status, State text
	ArrivalTime                     text
	Data                            []kuaidi100Node
}

type kuaidi100Node struct {
	Time, Ftime, Context, AreaCode, AreaName, Status, Location, AreaCenter, StatusCode text
}

// splitKuaidi100 takes param apart: the waybill, and the destination country's
// where it is followed too.
func splitKuaidi100(doc []byte) ([]Part, error) {
	var push kuaidi100Push
	doc = trimBOM(doc)
	if !isObject(doc) {
		return nil, &FieldError{"param", "is not a JSON object"}
	}
	if err := json.Unmarshal(doc, &push); err != nil {
		return nil, decodeField("param", err)
	}
	if !isObject(push.LastResult) {
		return nil, &FieldError{"lastResult", "is missing"}
	}
	first := kuaidi100Part(&push, "lastResult", push.LastResult)
	if !isObject(push.DestResult) {
		return []Part{first}, nil
	}
	second := kuaidi100Part(&push, "destResult", push.DestResult)
	// The correction is of the first leg's carrier.
	delete(second.Context, contextOldCarrier)
	delete(second.Context, contextNewCarrier)
	switch {
	case second.Number == "" && second.Err != nil && isBlank(push.DestResult):
		return []Part{first}, nil // the second leg isn't known yet
	case first.Number != "" && second.Number != "" && (first.Carrier != second.Carrier || first.Number != second.Number):
		set(first.Context, contextLastCarrier, string(second.Carrier))
		set(first.Context, contextLastNumber, string(second.Number))
		set(second.Context, contextFirstCarrier, string(first.Carrier))
		set(second.Context, contextFirstNumber, string(first.Number))
	}
	return []Part{first, second}, nil
}

func kuaidi100Part(push *kuaidi100Push, path string, body []byte) Part {
	p := Part{Body: body, Context: map[string]string{}}
	set(p.Context, contextStatus, push.Status.String())
	set(p.Context, contextMessage, push.Message.String())
	set(p.Context, contextOldCarrier, push.ComOld.String())
	set(p.Context, contextNewCarrier, push.ComNew.String())
	var result kuaidi100Result
	if err := json.Unmarshal(body, &result); err != nil {
		p.Err = decodeField(path, err)
		return p
	}
	w, wrong := waybillOf(kuaidi100Code, path+".com", result.Com.String(), path+".nu", result.Nu.String())
	p.Carrier, p.Number, p.Err = w.Carrier, w.Number, wrong
	for i := range result.Data {
		if p.Err != nil {
			break
		}
		if _, err := result.Data[i].time(); err != nil {
			p.Err = &FieldError{fmt.Sprintf("%s.data[%d].time", path, i), err.Error()}
		}
	}
	return p
}

// isBlank reports whether a result says nothing at all.
func isBlank(body []byte) bool {
	var r kuaidi100Result
	return json.Unmarshal(body, &r) == nil && r.Nu == "" && len(r.Data) == 0
}

func set(m map[string]string, key, value string) {
	if value != "" {
		m[key] = value
	}
}

// mapKuaidi100 makes a report of one result. A result without data says
// nothing of the parcel, and says it again and again: it has no events.
func mapKuaidi100(raw Raw) (track.Report, error) {
	var result kuaidi100Result
	if err := json.Unmarshal(raw.Body, &result); err != nil {
		return track.Report{}, fmt.Errorf("map kuaidi100: %w", decodeField("result", err))
	}
	var unknown unmapped
	events := make([]track.Event, 0, len(result.Data)+1)
	for i := range result.Data {
		e, err := result.Data[i].event(raw, &unknown)
		if err != nil {
			return track.Report{}, fmt.Errorf("map kuaidi100: data[%d].time: %w", i, err)
		}
		events = append(events, e)
	}
	ascending(events, true)
	if n := len(events); n > 0 {
		newest := events[n-1]
		result.applyState(&events[n-1], &unknown)
		if raw.Context[contextStatus] == statusAbort && raw.Context[contextNewCarrier] == "" {
			events = append(events, givenUp(raw, &newest))
		}
		if e, ok := estimate(raw, kuaidi100Code, "arrivalTime", result.ArrivalTime.String(), &newest); ok {
			events = append(events, e)
		}
	}
	return track.Report{
		Waybill: raw.Waybill, Events: number(events), Links: kuaidi100Links(raw), ReceiveTime: raw.ReceiveTime, Unmapped: unknown,
	}, nil
}

// time is the node's; ftime is the same in all records seen.
func (n *kuaidi100Node) time() (track.Time, error) {
	z := countryZone(n.country())
	t, err := parseTime(n.Time.String(), z)
	if err != nil && n.Ftime != "" {
		return parseTime(n.Ftime.String(), z)
	}
	return t, err
}

// country is in the area's code, such as CN440300000000; China's old codes
// have none.
func (n *kuaidi100Node) country() string {
	code := n.AreaCode.String()
	if len(code) < 2 || code[0] < 'A' || code[0] > 'Z' || code[1] < 'A' || code[1] > 'Z' {
		return ""
	}
	return code[:2]
}

// event maps a node by its own code, or its status by name, alone.
func (n *kuaidi100Node) event(raw Raw, unknown *unmapped) (track.Event, error) {
	at, err := n.time()
	if err != nil {
		return track.Event{}, err
	}
	words, given := n.Context.String(), n.Time.String()
	if given == "" {
		given = n.Ftime.String()
	}
	code := n.StatusCode.String()
	if code == "" {
		code = n.Status.String()
	}
	location := n.place()
	e := track.Event{
		ID:   track.DeriveID(track.IDParts{Waybill: raw.Waybill, Time: given, Code: code, Location: location.Text, Text: words}),
		Time: at, ReceiveTime: raw.ReceiveTime, RawCode: code, Text: words, Language: languageOf(words),
		Location: location, Courier: courierIn(words), Provenance: provenance(raw, kuaidi100Code),
	}
	if n.AreaCode != "" {
		e.Attributes = map[string]string{"area_code": n.AreaCode.String()}
	}
	n.mapStatus(&e, unknown)
	if e.Status == status.Delivered {
		e.Signer = signerIn(words)
	}
	return e, nil
}

// mapStatus gives an event its status. An unknown code gives way to the name,
// which says no less.
func (n *kuaidi100Node) mapStatus(e *track.Event, unknown *unmapped) {
	code, name := n.StatusCode.String(), n.Status.String()
	if r, ok := kuaidi100Rules[code]; ok {
		apply(e, r, "kuaidi100/statusCode/"+code, sureCode)
		return
	}
	if code != "" {
		unknown.add("statusCode/" + code)
	}
	if named, ok := kuaidi100Names[name]; ok {
		apply(e, kuaidi100Rules[named], "kuaidi100/status/"+name, sureName)
		return
	}
	if code == "" && name == "" {
		apply(e, moving, "", sureNoCode)
		return
	}
	if code == "" {
		unknown.add("status/" + name)
	}
	if group, ok := kuaidi100Group(code); ok {
		applyGroup(e, kuaidi100Rules[group], "kuaidi100/state/"+group)
		return
	}
	applyUnknown(e)
}

// applyState gives the newest event the waybill's state where its own code
// says nothing.
func (r *kuaidi100Result) applyState(newest *track.Event, unknown *unmapped) {
	state := r.State.String()
	if newest.Provenance.MappingRule != "" || state == "" {
		return
	}
	known, ok := kuaidi100Rules[state]
	group := state
	if !ok {
		unknown.add("state/" + state)
		if group, ok = kuaidi100Group(state); !ok {
			return
		}
		known = rule{status: kuaidi100Rules[group].status}
	}
	if newest.RawCode != "" { // a code that nobody knows: the main status alone
		applyGroup(newest, known, "kuaidi100/state/"+group)
		return
	}
	newest.RawCode = state
	apply(newest, known, "kuaidi100/state/"+group, sureState)
}

// givenUp says that the parcel is followed no more, because there was nothing
// new for long. The next event revives it.
func givenUp(raw Raw, newest *track.Event) track.Event {
	e := notice(raw, kuaidi100Code, newest, statusAbort)
	e.Text = raw.Context[contextMessage]
	e.Language = languageOf(e.Text)
	apply(&e, of(status.ExpiredNoUpdates), "kuaidi100/abort", sureName)
	return e
}

// kuaidi100Links are the waybill's other numbers.
func kuaidi100Links(raw Raw) []track.Link {
	var links []track.Link
	add := func(role track.LinkRole, carrier, number string) {
		w := track.Waybill{Carrier: track.Carrier(carrier), Number: track.Number(number)}
		if carrier != "" && number != "" && w != raw.Waybill {
			links = append(links, track.Link{Role: role, Waybill: w})
		}
	}
	add(track.LinkLastMile, raw.Context[contextLastCarrier], raw.Context[contextLastNumber])
	add(track.LinkParent, raw.Context[contextFirstCarrier], raw.Context[contextFirstNumber])
	add(track.LinkCorrected, string(carrierOf(kuaidi100Code, raw.Context[contextNewCarrier])), string(raw.Waybill.Number))
	return links
}

// place is where a node happened. The area's name goes from the province down.
func (n *kuaidi100Node) place() track.Location {
	l := place(n.Location.String())
	l.Country = n.country()
	names := strings.Split(n.AreaName.String(), ",")
	if l.Text == "" {
		l.Text = n.AreaName.String()
	}
	if len(names) > 1 {
		l.Region, l.City = names[0], names[1]
	} else if strings.HasSuffix(names[0], "市") {
		l.City = names[0]
	}
	longitude, latitude, ok := strings.Cut(n.AreaCenter.String(), ",")
	if east, north := degrees(longitude, 180), degrees(latitude, 90); ok && !math.IsNaN(east) && !math.IsNaN(north) {
		l.Coordinates = &track.Coordinates{Latitude: north, Longitude: east}
	}
	return l
}

// degrees is NaN when s is no angle within limit.
func degrees(s string, limit float64) float64 {
	f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || math.Abs(f) > limit {
		return math.NaN()
	}
	return f
}
