package canonical

import (
	"time"

	"github.com/posthaste/posthaste/services/internal/carrier"
	"github.com/posthaste/posthaste/services/internal/track"
)

// Years outside these are mistakes, such as 0001-01-01.
const (
	minYear = 1990
	maxYear = 2200
)

// maxOffset is beyond any clock on earth; more is a mistake.
const maxOffset = 18 * time.Hour

// timeRule is what a caller is told.
const timeRule = "must be RFC 3339 with or without offset, such as 2025-03-01T10:02:11+08:00 or 2025-03-01 10:02, or a date, from 1990 to 2200"

// eventTime reads the forms of event_time. It is by hand because every event
// passes here: a row of layouts costs a failed parse, with its error, for each.
func eventTime(field, s string) (track.Time, *carrier.FieldError) {
	if s == "" {
		return track.Time{}, bad(field, "is required")
	}
	t, ok := parseTime(s)
	if !ok {
		return track.Time{}, bad(field, timeRule)
	}
	return t, nil
}

func parseTime(s string) (track.Time, bool) {
	r := reader{s: s}
	year, month, day := r.digits(4), 0, 0
	r.one('-')
	month = r.digits(2)
	r.one('-')
	day = r.digits(2)
	t := track.Time{Precision: track.PrecisionDate}
	var hour, minute, second, nano int
	if !r.failed && r.s != "" {
		if !r.maybe('T') && !r.maybe('t') {
			r.one(' ')
		}
		hour = r.digits(2)
		r.one(':')
		minute = r.digits(2)
		t.Precision = track.PrecisionMinute
		if r.maybe(':') {
			second = r.digits(2)
			t.Precision = track.PrecisionSecond
			if r.maybe('.') {
				nano = r.fraction()
			}
		}
		if r.s != "" {
			t.OffsetSource = track.OffsetGiven
			t.Offset = r.offset()
		}
	}
	if r.failed || r.s != "" || year < minYear || year > maxYear || hour > 23 || minute > 59 || second > 59 {
		return track.Time{}, false
	}
	t.Wall = time.Date(year, time.Month(month), day, hour, minute, second, nano, time.UTC)
	if t.Wall.Day() != day || int(t.Wall.Month()) != month { // the 30th of February
		return track.Time{}, false
	}
	return t, true
}

// reader takes a text apart from the front. After a failure it stays failed.
type reader struct {
	s      string
	failed bool
}

func (r *reader) digits(n int) int {
	if len(r.s) < n {
		r.failed = true
		return 0
	}
	v := 0
	for i := range n {
		c := r.s[i]
		if c < '0' || c > '9' {
			r.failed = true
			return 0
		}
		v = v*10 + int(c-'0')
	}
	r.s = r.s[n:]
	return v
}

func (r *reader) maybe(c byte) bool {
	if r.s == "" || r.s[0] != c {
		return false
	}
	r.s = r.s[1:]
	return true
}

func (r *reader) one(c byte) {
	if !r.maybe(c) {
		r.failed = true
	}
}

// fraction reads a fraction of a second; below a nanosecond it is cut off.
func (r *reader) fraction() int {
	v, n := 0, 0
	for ; n < len(r.s) && r.s[n] >= '0' && r.s[n] <= '9'; n++ {
		if n < 9 {
			v = v*10 + int(r.s[n]-'0')
		}
	}
	r.failed = r.failed || n == 0
	r.s = r.s[n:]
	for ; n < 9; n++ {
		v *= 10
	}
	return v
}

func (r *reader) offset() time.Duration {
	if r.maybe('Z') || r.maybe('z') {
		return 0
	}
	sign := time.Duration(1)
	if !r.maybe('+') {
		r.one('-')
		sign = -1
	}
	hours := r.digits(2)
	r.one(':')
	minutes := r.digits(2)
	offset := time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	if offset > maxOffset || minutes > 59 {
		r.failed = true
	}
	return sign * offset
}
