package carrier

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/services/internal/track"
)

const kdniaoCode = "kdniao"

// contextPushTime is the push's own time as given. No rule needs it; it is
// kept because the body doesn't have it.
const contextPushTime = "push_time"

// kdniaoPush is the document of a push 101, 102 or 107: RequestData. Count is
// left out because real pushes get it wrong.
type kdniaoPush struct {
	PushTime text
	Data     []json.RawMessage
}

// kdniaoItem is a push's entry about one waybill.
type kdniaoItem struct {
	ShipperCode, LogisticCode text
	Success                   text
	Reason                    text
	State, StateEx            text
	Location                  text
	OrderState                text // of a payment push, 107
	EstimatedDeliveryTime     text
	DeliveryMan               text
	DeliveryManTel            text
	PickerInfo                *kdniaoPerson
	SenderInfo                *kdniaoPerson
	Traces                    []kdniaoTrace
}

// kdniaoPerson is a courier: the one that collects or the one that delivers.
type kdniaoPerson struct{ PersonName, PersonTel text }

func (p *kdniaoPerson) person() track.Person {
	if p == nil {
		return track.Person{}
	}
	return track.Person{Name: p.PersonName.String(), Phone: p.PersonTel.String()}
}

type kdniaoTrace struct {
	AcceptTime, AcceptStation, Location, Action, Remark, Timezone text
}

// splitKdniao takes RequestData apart, after one URL-decoding.
func splitKdniao(doc []byte) ([]Part, error) {
	var push kdniaoPush
	doc = trimBOM(doc)
	if !isObject(doc) {
		return nil, &FieldError{"RequestData", "is not a JSON object"}
	}
	if err := json.Unmarshal(doc, &push); err != nil {
		return nil, decodeField("RequestData", err)
	}
	if push.Data == nil {
		return nil, &FieldError{"Data", "is missing"}
	}
	var context map[string]string
	if push.PushTime != "" {
		context = map[string]string{contextPushTime: push.PushTime.String()}
	}
	parts := make([]Part, 0, len(push.Data))
	for i, body := range push.Data {
		path := fmt.Sprintf("Data[%d]", i)
		var item kdniaoItem
		if !isObject(body) {
			parts = append(parts, Part{Body: body, Context: context, Err: &FieldError{path, "is not a JSON object"}})
			continue
		}
		if err := json.Unmarshal(body, &item); err != nil {
			parts = append(parts, Part{Body: body, Context: context, Err: decodeField(path, err)})
			continue
		}
		if item.OrderState != "" && item.Traces == nil {
			continue // about money, not about a parcel's way
		}
		w, wrong := waybillOf(kdniaoCode, path+".ShipperCode", item.ShipperCode.String(), path+".LogisticCode", item.LogisticCode.String())
		if wrong == nil {
			wrong = item.check(path)
		}
		parts = append(parts, Part{Carrier: w.Carrier, Number: w.Number, Body: body, Context: context, Err: wrong})
	}
	return parts, nil
}

// check finds the times that can't be read: an event without one has no place
// in a trace.
func (item *kdniaoItem) check(path string) *FieldError {
	for i := range item.Traces {
		if _, err := item.Traces[i].time(); err != nil {
			return &FieldError{fmt.Sprintf("%s.Traces[%d].AcceptTime", path, i), err.Error()}
		}
	}
	return nil
}

func (t *kdniaoTrace) time() (track.Time, error) {
	return parseTime(t.AcceptTime.String(), givenZone(t.Timezone.String(), chinaZone))
}

// mapKdniao makes a report of one entry of Data. An entry without traces says
// nothing of the parcel, and says it again and again: its report is empty.
func mapKdniao(raw Raw) (track.Report, error) {
	var item kdniaoItem
	if err := json.Unmarshal(raw.Body, &item); err != nil {
		return track.Report{}, fmt.Errorf("map kdniao: %w", decodeField("Data", err))
	}
	var unknown unmapped
	events := make([]track.Event, 0, len(item.Traces)+1)
	for i := range item.Traces {
		e, err := item.Traces[i].event(raw, &unknown)
		if err != nil {
			return track.Report{}, fmt.Errorf("map kdniao: Traces[%d].AcceptTime: %w", i, err)
		}
		events = append(events, e)
	}
	ascending(events, false)
	if n := len(events); n > 0 {
		newest := &events[n-1]
		item.applyState(newest, &unknown)
		item.addCouriers(events)
		if e, ok := estimate(raw, kdniaoCode, "EstimatedDeliveryTime", item.EstimatedDeliveryTime.String(), newest); ok {
			events = append(events, e)
		}
	}
	return track.Report{Waybill: raw.Waybill, Events: number(events), ReceiveTime: raw.ReceiveTime, Unmapped: unknown}, nil
}

// event maps a trace by its own code alone.
func (t *kdniaoTrace) event(raw Raw, unknown *unmapped) (track.Event, error) {
	at, err := t.time()
	if err != nil {
		return track.Event{}, err
	}
	words, action := t.AcceptStation.String(), t.Action.String()
	e := track.Event{
		ID: track.DeriveID(track.IDParts{
			Waybill: raw.Waybill, Time: t.AcceptTime.String(), Code: action, Location: t.Location.String(), Text: words,
		}),
		Time: at, ReceiveTime: raw.ReceiveTime, RawCode: action, Text: words, Language: languageOf(words),
		Location: place(t.Location.String()), Courier: courierIn(words), Provenance: provenance(raw, kdniaoCode),
	}
	if t.Remark != "" {
		e.Attributes = map[string]string{"remark": t.Remark.String()}
	}
	mapAction(&e, action, unknown)
	if e.Status == status.Delivered {
		e.Signer = signerIn(words)
	}
	return e, nil
}

// mapAction gives an event its status by its own code.
func mapAction(e *track.Event, action string, unknown *unmapped) {
	if action == "" {
		apply(e, moving, "", sureNoCode)
		return
	}
	if r, ok := kdniaoStateEx[action]; ok {
		apply(e, r, "kdniao/StateEx/"+action, sureCode)
		return
	}
	unknown.add("StateEx/" + action)
	// A code of three digits stands in the group of its first one.
	if r, ok := kdniaoState[action[:1]]; ok && len(action) == 3 && action[0] != '0' {
		applyGroup(e, r, "kdniao/State/"+action[:1])
		return
	}
	applyUnknown(e)
}

// applyState gives the newest event the waybill's state where its own code
// says nothing.
func (item *kdniaoItem) applyState(newest *track.Event, unknown *unmapped) {
	if newest.Provenance.MappingRule != "" {
		return
	}
	state, fine := item.State.String(), item.StateEx.String()
	if newest.RawCode == "" && fine != "" && fine != "0" {
		newest.RawCode = fine
		mapAction(newest, fine, unknown)
		if newest.Provenance.MappingRule != "" {
			newest.Provenance.Confidence = min(newest.Provenance.Confidence, sureState)
			return
		}
	}
	r, known := kdniaoState[state]
	if !known { // an old document has fine codes here
		r, known = kdniaoStateEx[state]
	}
	switch {
	case !known:
		if state != "" {
			unknown.add("State/" + state)
		}
	case state == "0": // events are there: it can't be that there are none
	case newest.RawCode == "":
		newest.RawCode = state
		apply(newest, r, "kdniao/State/"+state, sureState)
	default:
		applyGroup(newest, r, "kdniao/State/"+state)
	}
}

// addCouriers gives the couriers that the entry names to the events that are
// theirs, where the text named none.
func (item *kdniaoItem) addCouriers(events []track.Event) {
	delivers := track.Person{Name: item.DeliveryMan.String(), Phone: item.DeliveryManTel.String()}
	if delivers == (track.Person{}) {
		delivers = item.SenderInfo.person()
	}
	for i := len(events) - 1; i >= 0; i-- {
		if events[i].Status == status.OutForDelivery {
			addCourier(&events[i], delivers)
			break
		}
	}
	for i := range events {
		if events[i].Status == status.PickedUp {
			addCourier(&events[i], item.PickerInfo.person())
			break
		}
	}
}

func addCourier(e *track.Event, p track.Person) {
	if e.Courier == (track.Person{}) {
		e.Courier = p
	}
}

// place is a location of which the text is known.
func place(s string) track.Location {
	l := track.Location{Text: s}
	if strings.HasSuffix(s, "市") && !strings.ContainsAny(s, "省 ,，") {
		l.City = s
	}
	return l
}
