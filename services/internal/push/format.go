package push

import (
	"github.com/posthaste/posthaste/services/internal/track"
)

// Format is the form of an endpoint's pushes: what is kept of a push until it is
// acknowledged, what an attempt posts, and which answers acknowledge. The zero
// value is Posthaste's own.
type Format int16

// The formats; their numbers are the API's PayloadFormat and are stored.
const (
	JSON      Format = 1 // Posthaste's
	Kdniao    Format = 2 // what Kdniao pushes, types 101 and 102
	Kuaidi100 Format = 3 // what Kuaidi100 pushes
)

// Account is what a platform's format needs of the account that an endpoint
// belongs to. Posthaste's own needs none.
type Account struct {
	ID  string // EBusinessID or customer
	Key string // Kdniao's AppKey. A secret.
	// Salt signs Kuaidi100's pushes to subscriptions without one of their own;
	// empty for no signature. A secret.
	Salt string
	// JSONBody posts Kdniao's document itself instead of a form: some receivers
	// read the body so.
	JSONBody bool
	// LowerSign writes Kuaidi100's signature in lower case: some receivers compare
	// so.
	LowerSign bool
}

// Attempt is what is posted.
type Attempt struct {
	URL         string
	ContentType string
	Body        []byte
}

const jsonType = "application/json"

// Whole says whether every push holds the whole trace, so that rendering needs
// all events whatever the range.
func (f Format) Whole() bool { return f == Kdniao || f == Kuaidi100 }

// Render makes what is kept of a push: it says what changed in a waybill after
// a revision, up to the trace's own. Like [Render] it looks at nothing else,
// so the same arguments give the same bytes.
func (f Format) Render(sub Subscription, t *track.Trace, after track.Revision) []byte {
	if sub.Mask {
		t = masked(t)
	}
	switch f {
	case Kdniao:
		return keepKdniao(sub, t)
	case Kuaidi100:
		return keepKuaidi100(sub, t, after)
	default:
		const usual = 2 << 10
		p := Render(sub, t, after)
		return p.AppendJSON(make([]byte, 0, usual))
	}
}

// Attempt makes of what was kept what is posted to an endpoint. A platform's
// signature is part of it; Posthaste's is in the header, and callback's.
func (f Format) Attempt(kept []byte, url string, a Account) Attempt {
	switch f {
	case Kdniao:
		return attemptKdniao(kept, url, a)
	case Kuaidi100:
		return attemptKuaidi100(kept, url, a)
	default:
		return Attempt{URL: url, ContentType: jsonType, Body: kept}
	}
}

// Judge says what an answer means: by its status alone, or, where the platform
// asks receivers for a word of success, also by the beginning of its body.
func (f Format) Judge(httpStatus int, body string) Verdict {
	v := Judge(httpStatus)
	switch {
	case v != Acknowledged:
	case f == Kdniao && !says(body, "success"),
		f == Kuaidi100 && !says(body, "result"):
		return Again
	}
	return v
}
