// Package record is what a run of the ledger wrote down: JSON lines in a folder,
// one file for each kind. It is all that the judge knows.
//
// Times are nanoseconds since the run's beginning, by the monotonic clock of the
// one process that writes, so that they can be compared with each other.
package record

import "time"

// Outcome is what is known of an operation's effect.
type Outcome string

// The outcomes.
const (
	// OK: the answer said success, and was read in full. The effect must appear.
	OK Outcome = "ok"
	// Fail: the answer refused. The effect must not appear.
	Fail Outcome = "fail"
	// Unknown: no answer, or one that says nothing of the effect, such as a 503.
	// It may appear.
	Unknown Outcome = "unknown"
)

// Kind is what an operation does.
type Kind string

// The kinds.
const (
	KindEvent     Kind = "event"
	KindSubscribe Kind = "subscribe"
	KindCancel    Kind = "cancel"
	KindPause     Kind = "pause"
	KindResume    Kind = "resume"
	KindRotate    Kind = "rotate" // another secret
	KindMove      Kind = "move"   // another URL
	KindEnable    Kind = "enable" // an endpoint that was disabled
)

// Op is one try of one operation.
type Op struct {
	Kind Kind `json:"kind"`
	// Try counts the tries of an operation from 1.
	Try int `json:"try"`
	// Source of an event: "team", "kdniao" or "kuaidi100".
	Source string `json:"source,omitempty"`
	// Waybill is "carrier/number".
	Waybill string `json:"waybill,omitempty"`
	// Tokens are those of all the events that the operation reports.
	Tokens []string `json:"tokens,omitempty"`
	// Refused are those of them that the answer named as bad.
	Refused []string `json:"refused,omitempty"`
	// Poison says in which way the operation is bad on purpose.
	Poison string `json:"poison,omitempty"`
	// Repeat says that the operation was done well before and is done again.
	Repeat       bool          `json:"repeat,omitempty"`
	Endpoint     int           `json:"endpoint"`
	Subscription string        `json:"subscription,omitempty"`
	Begin        time.Duration `json:"begin"`
	End          time.Duration `json:"end"`
	Outcome      Outcome       `json:"outcome"`
	// Status is the answer in a word or two.
	Status string `json:"status,omitempty"`
}

// Event is one thing that the workload lets happen to a parcel.
type Event struct {
	Token   string    `json:"token"`
	Waybill string    `json:"waybill"`
	Time    time.Time `json:"time"`
	// Status is the canonical code that it has to become; empty when its source's
	// code is one that nobody knows.
	Status string `json:"status"`
	// Replaces is the token of the event that this one corrects.
	Replaces string `json:"replaces,omitempty"`
	// Bad says that it is refused, and mustn't appear.
	Bad bool `json:"bad,omitempty"`
}

// Class is how an endpoint behaves.
type Class string

// The classes.
const (
	Good      Class = "good"
	Slow      Class = "slow"      // answers well, after a while
	Flapping  Class = "flapping"  // some seconds well, some seconds 503
	Healing   Class = "healing"   // fails, and is well later
	Doubling  Class = "doubling"  // at times answers after the time-out, or breaks off after having taken the push
	Gone      Class = "gone"      // answers 410 from some time on
	Dead      Class = "dead"      // refuses, hangs or fails until the end
	Throttled Class = "throttled" // at times answers 429 with a Retry-After
)

// Endpoint is where the workload receives pushes.
type Endpoint struct {
	Index  int    `json:"index"`
	Class  Class  `json:"class"`
	Tenant string `json:"tenant"`
	// ID is "ep_…".
	ID string `json:"id"`
	// Delays, MaxAttempts and Timeout are its policy.
	Delays      []time.Duration `json:"delays"`
	MaxAttempts int             `json:"max_attempts"`
	Timeout     time.Duration   `json:"timeout"`
	// Throttle is what its Retry-After asks for, 0 for nothing.
	Throttle time.Duration `json:"throttle,omitempty"`
}

// Push is one request that an endpoint got.
type Push struct {
	Endpoint int `json:"endpoint"`
	// Path is the last part of the URL that it came to.
	Path string `json:"path"`
	ID   string `json:"id"`
	// Signed is how long before the receipt its header says it was signed, by the
	// wall clock, and Timestamp what it says.
	Signed    time.Duration `json:"signed"`
	Timestamp int64         `json:"timestamp"`
	// Key is the secret that it verifies with: 1 for the first, 0 for none.
	Key          int      `json:"key"`
	Subscription string   `json:"subscription"`
	Tenant       string   `json:"tenant"`
	Waybill      string   `json:"waybill"`
	After        uint64   `json:"after"`
	Revision     uint64   `json:"revision"`
	Status       string   `json:"status"`
	EventCount   int      `json:"event_count"`
	Tokens       []string `json:"tokens"`
	// Events are their ids, and Body the hash of the bytes.
	Events   []string      `json:"events"`
	Body     string        `json:"body"`
	Received time.Duration `json:"received"`
	Answered time.Duration `json:"answered"`
	// Answer is the HTTP status that was written, 0 for none.
	Answer int `json:"answer"`
	// Late says that a 2xx was written after the time-out, or that the connection
	// was broken after the push was taken: who sent it can't know.
	Late bool `json:"late,omitempty"`
	// Left says that the client was gone before it was answered.
	Left bool `json:"left,omitempty"`
	// RetryAfter is what the answer asked for.
	RetryAfter time.Duration `json:"retry_after,omitempty"`
}

// Acknowledged says that the endpoint answered 2xx in time.
func (p *Push) Acknowledged() bool { return p.Answer >= 200 && p.Answer < 300 && !p.Late && !p.Left }

// FaultKind is what a nemesis does.
type FaultKind string

// The kinds of faults.
const (
	FaultKill       FaultKind = "kill"        // SIGKILL and start again
	FaultPause      FaultKind = "pause"       // SIGSTOP and SIGCONT
	FaultRestart    FaultKind = "restart"     // SIGTERM and start again
	FaultCut        FaultKind = "cut"         // connections broken, no new ones
	FaultBlackHole  FaultKind = "black-hole"  // bytes vanish, connections stay
	FaultLatency    FaultKind = "latency"     //
	FaultExhaust    FaultKind = "exhaust"     // all connections of PostgreSQL taken
	FaultTerminate  FaultKind = "terminate"   // backends of PostgreSQL ended
	FaultDiskFull   FaultKind = "disk-full"   // of the stream store
	FaultClock      FaultKind = "clock"       // stepped
	FaultPowerCut   FaultKind = "power-cut"   // what was not synced is gone
	FaultBitFlip    FaultKind = "bit-flip"    // a byte of a stream block is another
	FaultCrashPoint FaultKind = "crash-point" // the process ended itself at a named line
)

// Fault is one fault, over when its End isn't 0.
type Fault struct {
	ID   int       `json:"id"`
	Kind FaultKind `json:"kind"`
	// Targets are programs ("ingest", "nats", "postgres" …) or pairs
	// ("delivery-postgres").
	Targets []string      `json:"targets"`
	Detail  string        `json:"detail,omitempty"`
	Begin   time.Duration `json:"begin"`
	End     time.Duration `json:"end,omitempty"`
	// Down is when what was broken was certainly not to be reached: between the
	// end of the last process and its next start. Zero when there was no such time.
	DownFrom time.Duration `json:"down_from,omitempty"`
	DownTo   time.Duration `json:"down_to,omitempty"`
}

// Sample is what was measured at one moment.
type Sample struct {
	At time.Duration `json:"at"`
	// Program is whose RSS, FDs and Goroutines these are; empty when the others are
	// set.
	Program    string `json:"program,omitempty"`
	RSS        int64  `json:"rss,omitempty"`
	FDs        int    `json:"fds,omitempty"`
	Goroutines int    `json:"goroutines,omitempty"`
	// Backends are connections of PostgreSQL.
	Backends int `json:"backends,omitempty"`
	// Streams are bytes by stream.
	Streams map[string]uint64 `json:"streams,omitempty"`
}

// Follow is a trace update as a durable reader on NATS saw it.
type Follow struct {
	At       time.Duration `json:"at"`
	Waybill  string        `json:"waybill"`
	Revision uint64        `json:"revision"`
	Tokens   []string      `json:"tokens"`
}

// State is a waybill as one of those says it is who know.
type State struct {
	Revision   uint64   `json:"revision"`
	Status     string   `json:"status"`
	EventCount int      `json:"event_count"`
	Tokens     []string `json:"tokens"`
	LastTime   string   `json:"last_time"`
}

// Waybill is the end state of one waybill by whom it was asked; nil when it
// isn't known there.
type Waybill struct {
	Waybill string `json:"waybill"`
	GRPC    *State `json:"grpc"`
	Stream  *State `json:"stream"`
	SQL     *State `json:"sql"`
}

// OwedPush is a push as the API says it stands.
type OwedPush struct {
	ID       string `json:"id"`
	State    string `json:"state"`
	After    uint64 `json:"after"`
	Revision uint64 `json:"revision"`
	Reason   string `json:"reason,omitempty"`
}

// Subscription is the end state of one subscription.
type Subscription struct {
	ID           string     `json:"id"`
	Endpoint     int        `json:"endpoint"`
	Waybill      string     `json:"waybill"`
	State        string     `json:"state"`
	Pushed       uint64     `json:"pushed"`
	Acknowledged uint64     `json:"acknowledged"`
	Pushes       []OwedPush `json:"pushes"`
}

// Final is what was there at the end of a phase, in one file for each.
type Final struct {
	// Phase is "quiesced", before dead and gone endpoints healed, or "healed".
	Phase string        `json:"phase"`
	At    time.Duration `json:"at"`
	// Quiesced says that everything came to rest in time; Unsettled is what
	// didn't, in words.
	Quiesced  bool   `json:"quiesced"`
	Unsettled string `json:"unsettled,omitempty"`
	// Disabled are the indexes of endpoints that are disabled.
	Disabled      []int          `json:"disabled"`
	Waybills      []Waybill      `json:"waybills"`
	Subscriptions []Subscription `json:"subscriptions"`
	// Raw are the tokens that are in the RAW stream.
	Raw []string `json:"raw"`
	// OwedRows are subscriptions with a row of what they are owed.
	OwedRows []string `json:"owed_rows"`
	// Consumers of the streams, by name.
	Consumers []string `json:"consumers"`
	// PushMessages are in the PUSH stream.
	PushMessages uint64 `json:"push_messages"`
}

// Meta is what a run was.
type Meta struct {
	Profile    string        `json:"profile"`
	Seed       uint64        `json:"seed"`
	Run        string        `json:"run"` // first characters of tokens
	Deployment string        `json:"deployment"`
	Mutant     string        `json:"mutant,omitempty"`
	Began      time.Time     `json:"began"`
	Load       time.Duration `json:"load"` // planned length of the load
	// CalmUntil is when the first fault may come, and TroubleFrom when endpoints
	// began to behave badly.
	TroubleFrom time.Duration `json:"trouble_from"`
	CalmUntil   time.Duration `json:"calm_until"`
	// LoadEnd is when the load ended, HealedAt when the last fault was over.
	LoadEnd   time.Duration `json:"load_end"`
	HealedAt  time.Duration `json:"healed_at"`
	End       time.Duration `json:"end"`
	Endpoints []Endpoint    `json:"endpoints"`
	Intended  int           `json:"intended"` // operations that the plan has
	Durables  []string      `json:"durables"` // readers of the ledger's own
	Plan      string        `json:"plan"`     // hash of the plan
}

// Run is all that was written down.
type Run struct {
	Meta    Meta
	Events  []Event
	Ops     []Op
	Pushes  []Push
	Faults  []Fault
	Samples []Sample
	Follows []Follow
	Finals  []Final
}

// Final returns the state at the end of a phase, nil when it wasn't reached.
func (r *Run) Final(phase string) *Final {
	for i := range r.Finals {
		if r.Finals[i].Phase == phase {
			return &r.Finals[i]
		}
	}
	return nil
}
