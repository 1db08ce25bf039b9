package push

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/posthaste/posthaste/pkg/status"
	"github.com/posthaste/posthaste/services/internal/carrier"
	"github.com/posthaste/posthaste/services/internal/track"
)

// Kuaidi100Terms are what a subscription by Kuaidi100's form asks for.
type Kuaidi100Terms struct {
	// Company and Number are as the subscriber wrote them; empty for Kuaidi100's
	// own.
	Company string `json:"company,omitempty"`
	Number  string `json:"number,omitempty"`
	From    string `json:"from,omitempty"`
	To      string `json:"to,omitempty"`
	Phone   string `json:"-"` // isn't kept
	// Recognized is Kuaidi100's code of the carrier that the number was taken for,
	// when the subscriber named none.
	Recognized string `json:"recognized,omitempty"`
	// Query is the query string of the subscriber's callback, byte for byte,
	// without the question mark.
	Query string `json:"query,omitempty"`
	// Salt signs the pushes; nil for unsigned ones. A secret.
	Salt *string `json:"salt,omitempty"`
	// LowerSign writes the signature in lower case.
	LowerSign bool `json:"lower_sign,omitempty"`
	// Level is resultv2: how much each node says, see [Kuaidi100ResultOf].
	Level    int  `json:"level,omitempty"`
	AutoCom  bool `json:"auto_com,omitempty"`
	InterCom bool `json:"inter_com,omitempty"`
}

// The levels of resultv2 from which on something more is said. In between are
// variants with maps, which Posthaste doesn't draw.
const (
	levelArea     = 1
	levelRoute    = 2
	levelAdvanced = 4
	levelEstimate = 8
)

// Kuaidi100Node is a node of Kuaidi100's list.
type Kuaidi100Node struct {
	Time    string `json:"time"`
	Context string `json:"context"`
	Ftime   string `json:"ftime"`
	*kuaidi100Area
	*kuaidi100Advanced
}

type kuaidi100Area struct {
	AreaCode *string `json:"areaCode"`
	AreaName *string `json:"areaName"`
	Status   string  `json:"status"`
}

type kuaidi100Advanced struct {
	Location   string  `json:"location"`
	AreaCenter *string `json:"areaCenter"`
	AreaPinYin *string `json:"areaPinYin"`
	StatusCode string  `json:"statusCode"`
}

// Kuaidi100Result is what Kuaidi100 says of one waybill, in pushes and in
// answers.
type Kuaidi100Result struct {
	Message   string          `json:"message"`
	Nu        string          `json:"nu"`
	Ischeck   string          `json:"ischeck"`
	Condition string          `json:"condition"`
	Com       string          `json:"com"`
	Status    string          `json:"status"`
	State     string          `json:"state"`
	Data      []Kuaidi100Node `json:"data"`
	*kuaidi100Route
	ArrivalTime *string `json:"arrivalTime,omitempty"`
}

type kuaidi100Route struct {
	RouteInfo kuaidi100RouteInfo `json:"routeInfo"`
	IsLoop    bool               `json:"isLoop"`
}

type kuaidi100RouteInfo struct {
	From *kuaidi100Place `json:"from"`
	Cur  *kuaidi100Place `json:"cur"`
	To   *kuaidi100Place `json:"to"`
}

type kuaidi100Place struct {
	Number *string `json:"number"`
	Name   string  `json:"name"`
}

// Kuaidi100ResultOf says in Kuaidi100's form where a waybill is, newest first. A
// nil trace, and one without a listed event, is not found. Level 0 is times and
// texts alone, 1 adds areas and names of statuses, 2 the route, 4 codes and
// coordinates, and the advanced code as state, 8 the estimate.
func Kuaidi100ResultOf(terms Kuaidi100Terms, w track.Waybill, t *track.Trace) Kuaidi100Result {
	r := Kuaidi100Result{Nu: terms.Number, Com: terms.Company, Ischeck: "0", Data: []Kuaidi100Node{}}
	if r.Nu == "" {
		r.Nu = string(w.Number)
	}
	if c, _ := carrier.Named(carrier.PlatformKuaidi100, r.Com); r.Com == "" || c != w.Carrier {
		r.Com = carrier.CodeOf(carrier.PlatformKuaidi100, w.Carrier)
	}
	var list []*track.Event
	if t != nil {
		list = listed(t)
	}
	if len(list) == 0 {
		r.Message, r.Status, r.State = "快递公司参数异常：单号不存在或者已经过期", "201", "0"
		return r
	}
	r.Message, r.Status, r.Condition = "ok", "200", "00"
	r.State = kuaidi100State(t)
	if basic := kuaidi100Basic(r.State); basic == "3" || basic == "4" && t.State.Status == status.Returned {
		r.Ischeck = "1"
	}
	if terms.Level < levelAdvanced {
		r.State = kuaidi100Basic(r.State)
	}
	for _, e := range slices.Backward(list) {
		r.Data = append(r.Data, kuaidi100NodeOf(e, terms.Level))
	}
	if terms.Level >= levelRoute {
		route := &kuaidi100Route{RouteInfo: kuaidi100RouteInfo{From: kuaidi100PlaceOf(list[0]), Cur: kuaidi100PlaceOf(list[len(list)-1])}}
		if terms.To != "" {
			route.RouteInfo.To = &kuaidi100Place{Name: terms.To}
		}
		r.kuaidi100Route = route
	}
	if e := t.State.Estimate; e != nil && terms.Level >= levelEstimate {
		r.ArrivalTime = new(chinaClock(e.From))
	}
	return r
}

func kuaidi100NodeOf(e *track.Event, level int) Kuaidi100Node {
	code, name, outside := kuaidi100AreaOf(e)
	at := chinaClock(e.Time)
	if outside {
		// Beyond China the clock is that of the place, which the area says.
		at = e.Time.Wall.Format("2006-01-02 15:04:05")
	}
	n := Kuaidi100Node{Time: at, Ftime: at, Context: words(e)}
	statusCode := kuaidi100Code(e)
	if level < levelArea {
		return n
	}
	n.kuaidi100Area = &kuaidi100Area{AreaCode: code, AreaName: name, Status: kuaidi100Names[statusCode]}
	if level < levelAdvanced {
		n.Status = kuaidi100Names[kuaidi100Basic(statusCode)]
		return n
	}
	n.kuaidi100Advanced = &kuaidi100Advanced{StatusCode: statusCode}
	if name == nil || e.Location.Text != *name {
		n.Location = e.Location.Text
	}
	if c := e.Location.Coordinates; c != nil {
		n.AreaCenter = new(degrees(c.Longitude) + "," + degrees(c.Latitude))
	}
	return n
}

func degrees(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// kuaidi100AreaOf is an event's area, from the province down; nil where it isn't
// known. Outside says that its code is of another country than China.
func kuaidi100AreaOf(e *track.Event) (code, name *string, outside bool) {
	if c := e.Attributes["area_code"]; c != "" {
		code = &c
		outside = len(c) > 1 && c[0] >= 'A' && c[0] <= 'Z' && !strings.HasPrefix(c, "CN")
	}
	l := &e.Location
	switch {
	case l.Region == "" && l.City == "":
	case l.Region == "":
		name = new(l.City)
	case l.City == "":
		name = new(l.Region)
	case strings.HasPrefix(l.Text, l.Region+","):
		name = new(l.Text) // down to the street
	default:
		name = new(l.Region + "," + l.City)
	}
	return code, name, outside
}

func kuaidi100PlaceOf(e *track.Event) *kuaidi100Place {
	code, name, _ := kuaidi100AreaOf(e)
	if name == nil {
		if c := city(e); c != "" {
			name = &c
		}
	}
	if name == nil {
		return nil
	}
	return &kuaidi100Place{Number: code, Name: *name}
}

// kuaidi100State is the advanced state of a waybill of which there is a list.
func kuaidi100State(t *track.Trace) string {
	if e := stateEvent(t); e != nil {
		return kuaidi100Code(e)
	}
	if code := kuaidi100Sub[t.State.Sub]; code != "" {
		return code
	}
	return kuaidi100Status[t.State.Status]
}

// kuaidi100Code is an event's statusCode: the one that Kuaidi100 itself gave it,
// if it did, and else its status's.
func kuaidi100Code(e *track.Event) string {
	if e.Provenance.Source == carrier.PlatformKuaidi100 {
		if m, ok := carrier.Kuaidi100Meaning(e.RawCode); ok && m.Status == e.Status && m.Sub == e.Sub {
			return e.RawCode
		}
	}
	if code := kuaidi100Sub[e.Sub]; code != "" {
		return code
	}
	if code := kuaidi100Status[e.Status]; code != "" {
		return code
	}
	return kuaidi100Status[0]
}

type kuaidi100Push struct {
	Status     string           `json:"status"`
	Billstatus string           `json:"billstatus"`
	Message    string           `json:"message"`
	AutoCheck  string           `json:"autoCheck"`
	ComOld     string           `json:"comOld"`
	ComNew     string           `json:"comNew"`
	LastResult Kuaidi100Result  `json:"lastResult"`
	DestResult *Kuaidi100Result `json:"destResult,omitempty"`
}

// What a push's status says of the following.
const (
	kuaidi100Polling   = "polling"
	kuaidi100Shutdown  = "shutdown"
	kuaidi100Abort     = "abort"
	kuaidi100UpdateAll = "updateall"
)

// kuaidi100Head is kept beside a push's document.
type kuaidi100Head struct {
	Query string `json:"query,omitempty"`
	// Sign is the document's signature with the subscription's salt; empty leaves
	// it to the account's.
	Sign string `json:"sign,omitempty"`
	// Unsigned says that the subscriber asked for no signature.
	Unsigned  bool `json:"unsigned,omitempty"`
	LowerSign bool `json:"lower_sign,omitempty"`
}

func keepKuaidi100(sub Subscription, t *track.Trace, after track.Revision) []byte {
	var terms Kuaidi100Terms
	head := kuaidi100Head{}
	if len(sub.Terms) == 0 || json.Unmarshal(sub.Terms, &terms) != nil {
		// Subscribed by another way than Kuaidi100's: all that there is.
		terms = Kuaidi100Terms{Level: levelAdvanced, InterCom: true}
	} else {
		head = kuaidi100Head{Query: terms.Query, Unsigned: terms.Salt == nil, LowerSign: terms.LowerSign}
	}
	param := encode(kuaidi100PushOf(terms, t, after))
	if terms.Salt != nil {
		head.Sign = SignKuaidi100(string(param), *terms.Salt)
	}
	return keep(head, param)
}

func kuaidi100PushOf(terms Kuaidi100Terms, t *track.Trace, after track.Revision) kuaidi100Push {
	p := kuaidi100Push{AutoCheck: "0"}
	own := t
	if terms.InterCom {
		p.DestResult, own = kuaidi100Dest(terms, t)
	}
	p.LastResult = Kuaidi100ResultOf(terms, t.Waybill, own)
	p.Status, p.Message = kuaidi100Following(t, after)
	switch {
	case p.LastResult.Ischeck == "1":
		p.Billstatus = "check"
	case len(p.LastResult.Data) > 0:
		p.Billstatus = "got"
	}
	p.correct(terms, t)
	return p
}

// correct says that the carrier was another than the subscriber's: of the wrong
// one, that it is given up for the right one; of the right one, which it was
// before.
func (p *kuaidi100Push) correct(terms Kuaidi100Terms, t *track.Trace) {
	if right := corrected(t); right != "" {
		p.AutoCheck, p.ComOld, p.ComNew = "1", p.LastResult.Com, carrier.CodeOf(carrier.PlatformKuaidi100, right)
		p.Status = kuaidi100Abort
		if p.Message == "" {
			p.Message = "3天查询无记录"
		}
		return
	}
	was := terms.Company
	if was == "" {
		was = terms.Recognized
	}
	if c, _ := carrier.Named(carrier.PlatformKuaidi100, was); was != "" && c != t.Waybill.Carrier {
		p.AutoCheck, p.ComOld, p.ComNew = "1", was, p.LastResult.Com
	}
}

// corrected is the carrier that the waybill's number turned out to be of; empty
// when it is its own.
func corrected(t *track.Trace) track.Carrier {
	for _, l := range t.Links {
		if l.Role == track.LinkCorrected && l.Waybill.Carrier != t.Waybill.Carrier {
			return l.Waybill.Carrier
		}
	}
	return ""
}

// kuaidi100Following says whether the waybill is followed further, and why not.
func kuaidi100Following(t *track.Trace, after track.Revision) (state, message string) {
	switch {
	case t.State.Status == status.Delivered, t.State.Status == status.Returned:
		return kuaidi100Shutdown, ""
	case t.State.Terminal:
		return kuaidi100Abort, kuaidi100Names[kuaidi100State(t)]
	case t.State.Status == status.Expired && len(listed(t)) == 0:
		return kuaidi100Abort, "3天查询无记录"
	case t.State.Status == status.Expired:
		return kuaidi100Abort, "60天无变化"
	case after > 0 && revised(t, after):
		return kuaidi100UpdateAll, ""
	default:
		return kuaidi100Polling, ""
	}
}

// revised says whether something that was pushed before has been withdrawn or
// replaced since.
func revised(t *track.Trace, after track.Revision) bool {
	for i := range t.Events {
		e := &t.Events[i]
		if e.Revision > after && (e.Kind == track.KindVoid || e.Kind == track.KindCorrection || e.VoidedBy != "" || e.CorrectedBy != "") {
			return true
		}
	}
	return false
}

// kuaidi100Dest takes out the destination country's leg: the events that a
// source told of another number of the parcel. It returns their result, and the
// trace without them; nil and the trace itself when there are none.
func kuaidi100Dest(terms Kuaidi100Terms, t *track.Trace) (*Kuaidi100Result, *track.Trace) {
	var leg track.Waybill
	for i := range t.Events {
		if w := t.Events[i].Leg; w.Number != "" && w != t.Waybill {
			leg = w
		}
	}
	if leg == (track.Waybill{}) {
		return nil, t
	}
	own := &track.Trace{Waybill: t.Waybill, Revision: t.Revision, State: t.State}
	dest := &track.Trace{Waybill: leg, Revision: t.Revision, State: t.State}
	for i := range t.Events {
		if t.Events[i].Leg == leg {
			dest.Events = append(dest.Events, t.Events[i])
		} else {
			own.Events = append(own.Events, t.Events[i])
		}
	}
	r := Kuaidi100ResultOf(Kuaidi100Terms{Level: terms.Level}, leg, dest)
	return &r, own
}

func attemptKuaidi100(b []byte, url string, a Account) Attempt {
	var head kuaidi100Head
	param := string(kept(b, &head))
	sign := head.Sign
	if sign == "" && !head.Unsigned && a.Salt != "" {
		sign = SignKuaidi100(param, a.Salt)
	}
	if a.LowerSign || head.LowerSign {
		sign = strings.ToLower(sign)
	}
	if head.Query != "" {
		separator := "?"
		if strings.Contains(url, "?") {
			separator = "&"
		}
		url += separator + head.Query
	}
	pairs := []string{"param", param}
	if sign != "" {
		pairs = append([]string{"sign", sign}, pairs...)
	}
	return Attempt{URL: url, ContentType: formType, Body: form(pairs...)}
}
