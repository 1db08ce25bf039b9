package journey

import (
	"cmp"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/posthaste/posthaste/pkg/status"
)

// Step is one thing that happens on a journey.
type Step struct {
	After time.Duration // since the journey began
	City  string        // in Chinese, as Chinese sources tell it
	Text  string
	// What sources call it: Kdniao's StateEx, Kuaidi100's statusCode, and DHL's
	// status of shipments.
	Kdniao, Kuaidi100, DHL string
}

// Journey is a parcel's way.
type Journey struct {
	// Name is in reserved numbers: SIM-<NAME>-<anything>.
	Name  string
	Title string // for people
	Steps []Step
	// Final is where it ends; 0 for one of which nothing is told.
	Final status.Sub
}

const h = time.Hour

// journeys in which every source's coarse states occur. All end within four days.
var journeys = []Journey{
	{"DELIVERED", "an express parcel, delivered to the recipient", []Step{
		{0, "深圳市", "【深圳市】已揽收", "1", "103", "transit"},
		{3 * h, "深圳市", "【深圳市】快件已发往【武汉转运中心】", "206", "1002", "transit"},
		{15 * h, "武汉市", "【武汉市】快件已到达【武汉转运中心】", "204", "1002", "transit"},
		{26 * h, "武汉市", "【武汉市】快件已到达派件城市", "201", "1001", "transit"},
		{32 * h, "武汉市", "【武汉市】正在派件", "202", "5", "transit"},
		{35 * h, "武汉市", "【武汉市】已签收，本人签收", "301", "301", "delivered"},
	}, status.DeliveredRecipient},
	{"LOCKER", "nobody is there; a locker takes it, and it is collected", []Step{
		{0, "广州市", "【广州市】已揽收", "1", "103", "transit"},
		{9 * h, "长沙市", "【长沙市】快件已到达【长沙转运中心】", "204", "1002", "transit"},
		{21 * h, "长沙市", "【长沙市】正在派件", "202", "5", "transit"},
		{23 * h, "长沙市", "【长沙市】已放入快递柜，请凭取件码取件", "211", "501", "transit"},
		{47 * h, "长沙市", "【长沙市】已从快递柜取出", "311", "304", "delivered"},
	}, status.DeliveredCollected},
	{"RETURNED", "refused, and sent back to the sender", []Step{
		{0, "杭州市", "【杭州市】已揽收", "1", "103", "transit"},
		{12 * h, "南京市", "【南京市】正在派件", "202", "5", "transit"},
		{14 * h, "南京市", "【南京市】收件人拒收", "404", "203", "failure"},
		{20 * h, "南京市", "【南京市】退回途中", "407", "6", "transit"},
		{44 * h, "杭州市", "【杭州市】退件已签收", "406", "4", "delivered"},
	}, status.ReturnedToSender},
	{"CUSTOMS", "across a border, held by customs for a day", []Step{
		{0, "上海市", "【上海市】已揽收", "1", "103", "transit"},
		{18 * h, "上海市", "【上海市】等待清关", "601", "10", "transit"},
		{24 * h, "上海市", "【上海市】清关中", "602", "11", "transit"},
		{48 * h, "上海市", "【上海市】已清关", "603", "12", "transit"},
		{70 * h, "北京市", "【北京市】正在派件", "202", "5", "transit"},
		{73 * h, "北京市", "【北京市】已签收，本人签收", "301", "301", "delivered"},
	}, status.DeliveredRecipient},
	{"EXCEPTION", "an attempt fails, the next one doesn't", []Step{
		{0, "成都市", "【成都市】已揽收", "1", "103", "transit"},
		{20 * h, "重庆市", "【重庆市】正在派件", "202", "5", "transit"},
		{24 * h, "重庆市", "【重庆市】派件异常，联系不上收件人", "416", "206", "failure"},
		{44 * h, "重庆市", "【重庆市】正在派件", "202", "5", "transit"},
		{47 * h, "重庆市", "【重庆市】派件异常后签收", "302", "302", "delivered"},
	}, status.DeliveredAfterException},
	{"SILENT", "picked up, and then nothing is told for ever", []Step{
		{0, "西安市", "【西安市】已揽收", "1", "103", "transit"},
		{8 * h, "西安市", "【西安市】快件已发往【郑州转运中心】", "206", "1002", "transit"},
	}, 0},
	{"UNKNOWN", "the carrier doesn't know the number", nil, 0},
}

// All lists the journeys.
func All() []Journey { return slices.Clone(journeys) }

// Prefix begins every number that is reserved for the simulator.
const Prefix = "SIM-"

// Reserved says whether a number names a journey, and which: SIM-LOCKER-42.
func Reserved(number string) (Journey, bool) {
	name, ok := strings.CutPrefix(strings.ToUpper(number), Prefix)
	if !ok {
		return Journey{}, false
	}
	name, _, _ = strings.Cut(name, "-")
	for _, j := range journeys {
		if j.Name == name {
			return j, true
		}
	}
	return Journey{}, false
}

// Faults are what goes wrong in telling a journey.
type Faults struct {
	// Disorder has a step told only after the next one.
	Disorder int // the step; -1 for none
	// Correction has a step told otherwise once three more steps, or all, are told.
	Correction int // -1 for none
	// Repeat says that each push comes twice.
	Repeat bool
}

// Play is a journey of one number.
type Play struct {
	Journey Journey
	Faults  Faults
	// Delay is when it begins after it was first asked for.
	Delay time.Duration
}

// Of is what a number plays: the journey that it names, without faults, or one by
// chance, with them. Of a hundred, 12 are silent after a while and 4 unknown.
func Of(seed uint64, number string) Play {
	if j, ok := Reserved(number); ok {
		return Play{Journey: j, Faults: Faults{Disorder: -1, Correction: -1}}
	}
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(number))
	chance := rand.New(rand.NewPCG(seed, sum.Sum64())) //nolint:gosec // it has to be the same every time
	const of, delivered, locker, returned, customs, exception, silent = 100, 40, 60, 67, 76, 84, 96
	at := chance.IntN(of)
	bounds := []int{delivered, locker, returned, customs, exception, silent, of}
	p := Play{Journey: journeys[slices.IndexFunc(bounds, func(b int) bool { return at < b })], Faults: Faults{Disorder: -1, Correction: -1}}
	p.Delay = time.Duration(chance.Int64N(int64(6 * h)))
	if n := len(p.Journey.Steps); n > 3 {
		switch chance.IntN(10) {
		case 0, 1:
			p.Faults.Disorder = 1 + chance.IntN(n-2)
		case 2:
			p.Faults.Correction = chance.IntN(n - 1)
		}
	}
	p.Faults.Repeat = chance.IntN(5) == 0
	return p
}

// Event is a step as it is told.
type Event struct {
	Step

	At time.Time
	// AreaCode and AreaName are Kuaidi100's of the place; without them it has the city
	// alone.
	AreaCode, AreaName string
}

// Told is what a source tells of a journey, in order of time, when it has gone on
// for elapsed. begin is when its first step happened.
func (p Play) Told(begin time.Time, elapsed time.Duration) []Event {
	var told []Event
	steps := p.Journey.Steps
	for i, s := range steps {
		known := s.After
		if i == p.Faults.Disorder && i+1 < len(steps) {
			known = steps[i+1].After + time.Minute
		}
		if p.Delay+known > elapsed {
			continue
		}
		e := Event{Step: s, At: begin.Add(s.After)}
		if i == p.Faults.Correction && p.Delay+steps[min(i+3, len(steps)-1)].After <= elapsed {
			e.Text += "（更正）" // corrected
		}
		told = append(told, e)
	}
	slices.SortStableFunc(told, func(a, b Event) int { return cmp.Compare(a.After, b.After) })
	return told
}

// Changes are the times, since it was first asked for, at which something new is
// told.
func (p Play) Changes() []time.Duration {
	var all []time.Duration
	steps := p.Journey.Steps
	for i, s := range steps {
		known := s.After
		if i == p.Faults.Disorder && i+1 < len(steps) {
			known = steps[i+1].After + time.Minute
		}
		all = append(all, p.Delay+known)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Length is how long the journey takes.
func (p Play) Length() time.Duration {
	if n := len(p.Journey.Steps); n > 0 {
		return p.Delay + p.Journey.Steps[n-1].After
	}
	return 0
}
